"""The statistics of the signal: their names, the columns of their table, and what each of them is.

The signal table is long: `cell, epoch, layer, statistic, value`. Epoch 0 is before training, and the other epoch is the
last one, after it. Layers are those with weights, from 1, in the order of execution; layer 0 is the input. L is the
number of layers, x the images as the network reads them, z_l the pre-activations of a layer, a_l its activations
(a_0 = x; of the last layer the network's output), W_l its weights, and ℓ_i the loss of image i. All come from
B images: the first 256 of the training's order, or fewer where the training has fewer. Arrays are float32, and sums of
their entries float64, so that a mean square can be below the smallest float32. "Entries" are all images × units (of
convolutions × positions too).

Statistics of a layer l from 0 to L:

- `activation_mean`, `activation_variance`: mean and variance of the entries of a_l.
- `activation_q01`, `activation_q50`, `activation_q99`: their quantiles, interpolated linearly as `numpy.quantile` does.
- `correlation`: the mean over all pairs of images i ≠ j of the cosine of their pre-activations,
  ⟨z_i, z_j⟩ / |z_i| |z_j|; in layer 0 of x. The c of Poole et al. 2016. Images whose z_l is zero are left out.
- `effective_rank`: exp(−Σ p_k log p_k), p_k = s_k / Σ s, s the singular values of the representations a_l
  `[B, units]`; 0 where all are zero. Roy & Vetterli 2007, section 2.

Of a layer l from 1 to L:

- `pre_activation_mean`, `pre_activation_variance`, `pre_activation_q01`, `pre_activation_q50`, `pre_activation_q99`:
  of the entries of z_l.
- `pre_activation_second_moment`: the mean of the squared entries of z_l, the length q of Poole et al. 2016.
- `saturated_share`: the share of the entries at which |φ'(z)| is below 1% of the largest |φ'| of the activation φ
  (Glorot & Bengio 2010, section 3); of softmax the derivative of a class by its own pre-activation.
- `dead_share`: the share of the units whose activation is zero for every image (and position). Lu et al. 2020, "Dying
  ReLU and Initialization".
- `pre_activation_gradient_norm`: √(mean over images of |∂ℓ_i/∂z_l|²). It and the next three: Glorot & Bengio 2010,
  section 4.2.
- `pre_activation_gradient_variance`: variance of the entries of ∂ℓ_i/∂z_l.
- `weight_gradient_norm`, `weight_gradient_variance`: Frobenius norm of the gradient of the mean loss at W_l, and the
  variance of its entries.
- `weight_norm`, `weight_spectral_norm`: Frobenius norm and largest singular value of W_l; of a convolution of the
  matrix `[height · width · channels_in, channels_out]` (Miyato et al. 2018), and of groups the largest of theirs.
- `weight_distance`: Frobenius norm of W_l minus its start; at the last epoch alone (Nagarajan & Kolter 2019). In
  stacks, weights of pixels that are zero in every image are not trained (their gradient is zero), and count as they
  start: weight decay does not move them.

Of the first layer, as a summary: `gradient_ratio`, `pre_activation_gradient_norm` of layer 1 divided by that of layer
L; and `weight_gradient_ratio`, the same of `weight_gradient_norm`.

Of the last layer: of the singular values of the input–output Jacobian ∂z_L/∂x `[classes, inputs]`, at each of the first
8 images, `jacobian_largest`, `jacobian_median`, `jacobian_smallest` and `jacobian_mean_square`, each a mean over these
images, and `jacobian_condition`, the median over them of largest / smallest (Saxe et al. 2014; Pennington et al. 2017).
A singular value below the rounding of the largest (by the machine epsilon times their number) is 0; the condition is ∞
where the smallest is 0.

Of the last hidden layer, by `initbench signal` alone: the same of its Jacobian ∂z_{L−1}/∂x `[units, inputs]`, at the
first image. All its singular values are computed where no hidden layer is wider than 512, or where they are
requested; elsewhere `jacobian_largest` and `jacobian_mean_square` are estimated, within 1% and 3%, and the others left
out (`initbench.training.signal.spectra`).

Of models that are not plain perceptrons (`initbench.training.signal.module`):

- A copy of the model computes all of it, as in a step of training but without PyTorch's dropout: batch normalization
  takes the mean and the variance of the B images, and random activations draw from the cell's seed. In the Jacobian
  these means and variances are constants.
- Layers are those that the initializer fills, and of one that is called several times, or whose weights several
  modules share, the first call counts.
- z_l is what enters the activation that follows layer l before the next layer, so behind a normalization or a sum of
  residual branches; a_l is what that activation returns. Activations are the modules of the setting `activation`, and
  in users' models PyTorch's activation modules, but no functions, such as `torch.relu`. Without such a module, z_l is
  the layer's output, `effective_rank` is that of z_l, and the statistics of activations and of φ are missing. z_L is
  the model's output before the output activation, which is its activation.
- Units are channels: those of convolutions, and the last dimension of all else. Images with several positions are one
  row each for `correlation` and `effective_rank`.
- The largest |φ'| is that in the layer where φ is not elementwise (`nn.GLU`, `nn.PReLU` of several channels) or random.
- Of more than 2²⁰ entries, quantiles take at most as many, evenly spaced.
- A layer that is not called has statistics of its weights alone. Gradients are missing where none arrives: in layers
  before a `detach`, say; so is the Jacobian of a model that looks pixels up in an embedding.

Values have the units of what they are computed from; pixels are from 0 to 1, or standardized. A value can be infinite
or NaN, where a network has diverged or a quotient has no value.
"""

COLUMNS = ("cell", "epoch", "layer", "statistic", "value")

IMAGES = 256  # how many images the signal is computed on
JACOBIAN_IMAGES = 8  # of how many of these the Jacobian

HIDDEN_JACOBIAN_IMAGES = 1  # and of how many that of the last hidden layer
SPECTRA = ("auto", "full")  # which singular values of the latter `initbench signal` computes
MAX_FULL_WIDTH = 512  # up to this width all singular values of the latter are computed

# Of a network whose layers are computed one by one, the first ones are kept in this many bytes of memory.
MAX_KEPT_BYTES = 1_000_000_000

SATURATED = 0.01  # a unit is saturated where its derivative is below this share of the largest

ACTIVATIONS = tuple(f"activation_{name}" for name in ("mean", "variance", "q01", "q50", "q99"))
PRE_ACTIVATIONS = tuple(f"pre_{name}" for name in ACTIVATIONS)
JACOBIAN = tuple(f"jacobian_{name}" for name in ("largest", "median", "smallest", "mean_square", "condition"))

# All statistics, in the order of the table.
STATISTICS = (
    *PRE_ACTIVATIONS,
    "pre_activation_second_moment",
    *ACTIVATIONS,
    "saturated_share",
    "dead_share",
    "correlation",
    "effective_rank",
    "pre_activation_gradient_norm",
    "pre_activation_gradient_variance",
    "gradient_ratio",
    "weight_gradient_norm",
    "weight_gradient_variance",
    "weight_gradient_ratio",
    "weight_norm",
    "weight_spectral_norm",
    "weight_distance",
    *JACOBIAN,
)
