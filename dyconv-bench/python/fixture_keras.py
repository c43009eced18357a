"""The Keras layer DyConv2D as it is meant to be, in Keras 3: to make fixtures with.

Mean, Dense(K, relu), Dense(K, softmax), aggregation of flattened HWIO experts, one
convolution per sample, batch norm, activation. get_config has the layer's own arguments
and nothing else beside the base class's name, trainable and dtype.
"""

import keras
from keras import ops


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


@keras.saving.register_keras_serializable("dyconv")
class DyConv2D(keras.layers.Layer):
    def __init__(
        self, filters, kernel_size, num_experts, strides=(1, 1), padding="same", data_format=None,
        dilation_rate=(1, 1), activation=None, use_bias=True, kernel_initializer="glorot_uniform",
        bias_initializer="zeros", kernel_regularizer=None, bias_regularizer=None, activity_regularizer=None,
        kernel_constraint=None, bias_constraint=None, axis=None, **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters, self.kernel_size, self.num_experts = filters, pair(kernel_size), num_experts
        self.strides, self.padding, self.dilation_rate = pair(strides), padding, pair(dilation_rate)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.channels_last = self.data_format == "channels_last"
        self.axis = (-1 if self.channels_last else 1) if axis is None else axis
        if (self.axis in (-1, 3)) != self.channels_last:
            raise ValueError(f"axis ({axis}) contradicts data_format ({self.data_format})")
        self.dense = keras.layers.Dense(num_experts, activation="relu", name="dense", dtype=self.dtype_policy)
        self.dense_1 = keras.layers.Dense(num_experts, activation="softmax", name="dense_1", dtype=self.dtype_policy)
        self.batch_normalization = keras.layers.BatchNormalization(
            axis=self.axis, name="batch_normalization", dtype=self.dtype_policy
        )

    def build(self, input_shape):
        self.in_channels = input_shape[-1 if self.channels_last else 1]
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.kernel = self.add_weight(
            name="kernel", shape=(self.num_experts, taps * self.in_channels * self.filters),
            initializer=self.kernel_initializer, regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.num_experts, self.filters), initializer=self.bias_initializer,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )
        self.dense.build((None, self.in_channels))
        self.dense_1.build((None, self.num_experts))
        shape = [None] * 4
        shape[self.axis] = self.filters
        self.batch_normalization.build(shape)
        self.built = True

    def attention(self, inputs):
        axes = (1, 2) if self.channels_last else (2, 3)
        return self.dense_1(self.dense(ops.mean(inputs, axis=axes)))

    def call(self, inputs, training=False):
        pi = self.attention(inputs)
        kernels = ops.einsum("nk,kw->nw", pi, self.kernel)
        kernels = ops.reshape(kernels, (-1, *self.kernel_size, self.in_channels, self.filters))
        # TensorFlow convolves channels-last only on a CPU
        images = inputs if self.channels_last else ops.transpose(inputs, (0, 2, 3, 1))
        samples = [
            ops.conv(
                images[n : n + 1], kernels[n], strides=self.strides, padding=self.padding,
                data_format="channels_last", dilation_rate=self.dilation_rate,
            )
            for n in range(images.shape[0])
        ]
        y = ops.concatenate(samples, axis=0)
        if self.use_bias:
            y = y + ops.einsum("nk,ko->no", pi, self.bias)[:, None, None, :]
        y = y if self.channels_last else ops.transpose(y, (0, 3, 1, 2))
        y = self.batch_normalization(y, training=training)
        return y if self.activation is None else self.activation(y)

    def get_config(self):
        return {**super().get_config(), **own_config(keras, self)}


ARGUMENTS = (
    "filters", "kernel_size", "num_experts", "strides", "padding", "data_format", "dilation_rate", "activation",
    "use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
    "activity_regularizer", "kernel_constraint", "bias_constraint", "axis",
)


def own_config(library, layer):
    """The layer's arguments, those with objects serialised by the given Keras."""
    config = {name: getattr(layer, name) for name in ARGUMENTS}
    for name, value in config.items():
        for suffix in ("activation", "initializer", "regularizer", "constraint"):
            if name.endswith(suffix):
                config[name] = getattr(library, f"{suffix}s").serialize(value)
    return config
