// What a kernel that finishes outputs unit by unit counts in: blocks of ROWS output channels of one group, the last one of
// a group perhaps with fewer. A unit is a block at some pixels.

fn blocks_of_group() -> u32 {
    return (params.rows + ROWS - 1u) / ROWS;
}

// The first channel of a block, counted through all groups.
fn first_channel(block: u32) -> u32 {
    return block / blocks_of_group() * params.rows + block % blocks_of_group() * ROWS;
}

fn rows_of(block: u32) -> u32 {
    return min(ROWS, params.rows - block % blocks_of_group() * ROWS);
}
