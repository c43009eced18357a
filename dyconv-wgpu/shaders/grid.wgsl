// Workgroups are counted in one number. Where there are more than one dimension of a dispatch may
// hold, the host folds them into rows; the last row may be longer than needed.

fn workgroup_number(id: vec3<u32>, grid: vec3<u32>) -> u32 {
    return id.x + id.y * grid.x;
}
