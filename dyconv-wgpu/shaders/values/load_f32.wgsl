// Activations as 32-bit floats: what one, and four in a row, are read as.

alias Word = f32;
alias Words = vec4<f32>;

// The word with the i-th value in it.
fn word_of(i: u32) -> u32 {
    return i;
}

// The i-th value, from its word.
fn value_of(word: Word, i: u32) -> f32 {
    return word;
}

fn four_values(words: Words) -> vec4<f32> {
    return words;
}
