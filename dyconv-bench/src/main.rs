//! The program `dyconv`.
fn main() {}
