// Activations in half precision, two to a word: needs no feature of the device.

alias Word = u32;
alias Words = vec2<u32>;

fn word_of(i: u32) -> u32 {
    return i / 2u;
}

fn value_of(word: Word, i: u32) -> f32 {
    return unpack2x16float(word >> (i % 2u * 16u)).x;
}

fn four_values(words: Words) -> vec4<f32> {
    return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}
