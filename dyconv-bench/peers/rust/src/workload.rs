//! Which layer is timed: the driver sends it with every request.

use serde::Deserialize;

/// One layer at its real size: square, padding kernel / 2, a bias per expert, a head of two dense layers with softmax.
#[derive(Clone, Debug, Deserialize)]
pub struct Workload {
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub extent: usize,
    pub experts: usize,
    pub hidden: usize,
}

impl Workload {
    /// Refuses what no layer can be.
    pub fn check(&self) -> Result<(), String> {
        let Self { in_channels, out_channels, kernel, stride, groups, extent, experts, hidden } = *self;
        if [in_channels, out_channels, kernel, stride, groups, extent, experts, hidden].contains(&0) {
            return Err(format!("{self:?}: every number must be ≥ 1"));
        }
        if in_channels % groups != 0 || out_channels % groups != 0 {
            return Err(format!(
                "groups ({groups}) must divide both channel counts ({in_channels}, {out_channels})"
            ));
        }
        if extent + 2 * self.padding() < kernel {
            return Err(format!("kernel ({kernel}) is larger than the padded image"));
        }
        Ok(())
    }

    pub fn padding(&self) -> usize {
        self.kernel / 2
    }

    pub fn out_extent(&self) -> usize {
        (self.extent + 2 * self.padding() - self.kernel) / self.stride + 1
    }

    /// Input channels that one output channel reads.
    pub fn group_channels(&self) -> usize {
        self.in_channels / self.groups
    }

    pub fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.groups) == (1, 1, 1)
    }

    /// `[batch, in_channels, extent, extent]`
    pub fn input_shape(&self, batch: usize) -> [usize; 4] {
        [batch, self.in_channels, self.extent, self.extent]
    }

    /// `[batch, out_channels, out_extent, out_extent]`
    pub fn output_shape(&self, batch: usize) -> [usize; 4] {
        [batch, self.out_channels, self.out_extent(), self.out_extent()]
    }

    /// Of `kernels` kernels one after the other: `[kernels × out_channels, group_channels, kernel, kernel]`.
    pub fn kernel_shape(&self, kernels: usize) -> [usize; 4] {
        [kernels * self.out_channels, self.group_channels(), self.kernel, self.kernel]
    }

    /// Numbers in one kernel.
    pub fn kernel_len(&self) -> usize {
        self.kernel_shape(1).iter().product()
    }
}
