// Input value by value.

@group(0) @binding(1) var<storage, read> input: array<Word>;

fn four_inputs(place: vec4<u32>) -> vec4<f32> {
    return vec4(
        value_of(input[word_of(place.x)], place.x),
        value_of(input[word_of(place.y)], place.y),
        value_of(input[word_of(place.z)], place.z),
        value_of(input[word_of(place.w)], place.w),
    );
}
