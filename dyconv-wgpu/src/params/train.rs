//! Uniforms of the kernels of training.

super::uniforms! {
    ApplyParams {
        count: u32,
        input_base: u32,
        output_base: u32,
        activation: u32,
        slope: f32,
    }

    ReduceParams {
        columns: u32,
        lanes: u32,
        rows: u32,
        input_base: u32,
        output_base: u32,
        add: u32,
    }

    MoveRunningParams {
        channels: u32,
        keep: f32,
        taken_mean: f32,
        taken_variance: f32,
    }

    ActivateBackwardParams {
        count: u32,
        preactivation_base: u32,
        gradient_base: u32,
        output_base: u32,
        activation: u32,
        slope: f32,
        l1: f32,
        l2: f32,
    }

    SumsParams {
        samples: u32,
        channels: u32,
        padded: u32,
        pixels: u32,
        lanes: u32,
        blocks: u32,
        channels_last: u32,
        channel_stride: u32,
        pixel_stride: u32,
        gradient_base: u32,
        convolved_base: u32,
        output_base: u32,
        output_row: u32,
        first_pixel: u32,
        end_pixel: u32,
        has_norm: u32,
        epsilon: f32,
    }

    NormalizeBackwardParams {
        count: u32,
        channels: u32,
        channel_stride: u32,
        gradient_base: u32,
        convolved_base: u32,
        output_base: u32,
        is_batch: u32,
        values: f32,
        epsilon: f32,
    }

    ConvolveBackwardParams {
        input_height: u32,
        input_width: u32,
        output_height: u32,
        output_width: u32,
        depth: u32,
        rows: u32,
        groups: u32,
        kernel_height: u32,
        kernel_width: u32,
        stride_height: u32,
        stride_width: u32,
        dilation_height: u32,
        dilation_width: u32,
        padding_top: i32,
        padding_left: i32,
        batch: u32,
        kernels: u32,
        samples: u32,
        sections: u32,
        section: u32,
        phases_height: u32,
        phases_width: u32,
        tap_step_height: u32,
        tap_step_width: u32,
        output_step_height: u32,
        output_step_width: u32,
        row_tiles: u32,
        column_tiles: u32,
        kernel_stride: u32,
        input_base: u32,
        input_channel: u32,
        input_pixel: u32,
        gradient_base: u32,
        gradient_channel: u32,
        gradient_pixel: u32,
        share_base: u32,
        other_base: u32,
        flags: u32,
        first: u32,
        end: u32,
    }

    AggregateBackwardParams {
        length: u32,
        experts: u32,
        samples: u32,
        sections: u32,
        blocks: u32,
        first_sample: u32,
        add: u32,
        has_weights: u32,
    }

    AttentionBackwardParams {
        samples: u32,
        channels: u32,
        hidden: u32,
        experts: u32,
        logit_weights: u32,
        is_sigmoid: u32,
        temperature: f32,
    }

    HeadBackwardParams {
        count: u32,
        samples: u32,
        channels: u32,
        hidden: u32,
        experts: u32,
        logit_weights: u32,
        add: u32,
    }

    PoolMeanBackwardParams {
        count: u32,
        channels: u32,
        channel_stride: u32,
        pixels: u32,
        gradient_base: u32,
        output_base: u32,
    }

    PoolMaxBackwardParams {
        count: u32,
        channels: u32,
        input_height: u32,
        input_width: u32,
        output_height: u32,
        output_width: u32,
        window_height: u32,
        window_width: u32,
        stride_height: u32,
        stride_width: u32,
        padding_top: u32,
        padding_left: u32,
        channels_last: u32,
        input_base: u32,
        gradient_base: u32,
        output_base: u32,
    }

    MoveParams {
        count: u32,
        length: u32,
        stride: u32,
        first: u32,
        is_adam: u32,
        nesterov: u32,
        rate: f32,
        decay: f32,
        l1: f32,
        l2: f32,
        momentum: f32,
        taken: f32,
        momentum_2: f32,
        taken_2: f32,
        epsilon: f32,
    }

    ConstrainParams {
        count: u32,
        experts: u32,
        first: u32,
        stride: u32,
        extent_0: u32,
        extent_1: u32,
        extent_2: u32,
        extent_3: u32,
        axes: u32,
        groups: u32,
        members: u32,
        sections: u32,
        sharers: u32,
        order: u32,
        rows: u32,
        kind: u32,
        low: f32,
        high: f32,
        rate: f32,
    }
}
