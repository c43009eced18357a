// The products of an output's sum, where those of a step may belong to several taps.

// A step's first product, counted from the first of all; channel and tap of the first that a thread gathers.
struct Product {
    first: u32,
    channel: u32,
    y: u32,
    x: u32,
}

// `local` products beyond a step's first.
fn product(first: u32, local: u32) -> Product {
    let tap = (first + local) / params.depth;
    return Product(
        first,
        (first + local) % params.depth,
        tap / params.kernel_width,
        tap % params.kernel_width,
    );
}

// That of the next step: counted on by what the host made of DEPTH, since two divisions a step cost more than
// these additions.
fn next(at: Product) -> Product {
    var to = Product(at.first + DEPTH, at.channel + params.hop_channel, at.y + params.hop_y, at.x + params.hop_x);
    if to.channel >= params.depth {
        to.channel -= params.depth;
        to.x++;
    }
    if to.x >= params.kernel_width {
        to.x -= params.kernel_width;
        to.y++;
    }
    return to;
}
