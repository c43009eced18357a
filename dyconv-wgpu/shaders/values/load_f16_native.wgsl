// Activations in half precision, as devices with shader-f16 read them.

enable f16;

alias Word = f16;
alias Words = vec4<f16>;

fn word_of(i: u32) -> u32 {
    return i;
}

fn value_of(word: Word, i: u32) -> f32 {
    return f32(word);
}

fn four_values(words: Words) -> vec4<f32> {
    return vec4<f32>(words);
}
