"""The head of a classifier, fitted to a backbone as it came: a linear probe.

A random head's gradients would wreck a backbone, and a head that a few epochs of steps have moved
is far from done. This one is done before the first epoch, for one pass over the photos
(Kumar et al., 2022, arXiv:2202.10054: first the probe, then the fine-tuning).
"""

import numpy as np

RIDGE = 0.1  # of the squared weights on standardised features, as a share of the mean loss
MOST = 20_000  # views that are looked at: enough for a linear layer, and 100 MB of MobileNetV2
_STEPS = 200


def fit(
    features: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fits multinomial logistic regression, by L-BFGS.

    Args:
      features: float [N, D].
      labels: int [N]; a photo with -1 does not count.
      classes: C.
      weights: float [C], what a photo of each class weighs.

    Returns:
      kernel float32 [D, C] and bias float32 [C] of a linear layer on the features as they are; 0
      for a class without photos.
    """
    from scipy.optimize import minimize

    known = labels >= 0
    there, y = np.unique(labels[known], return_inverse=True)
    x = np.asarray(features[known], np.float32)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    x -= mean
    x /= spread
    weight = weights[there][y] / weights[there][y].sum()
    (photos, width), rivals = x.shape, len(there)
    rows = np.arange(photos)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = flat[:-rivals].reshape(width, rivals), flat[-rivals:]
        logits = x @ kernel.astype(np.float32) + bias
        logits -= logits.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1)
        value = (weight * (np.log(total) - logits[rows, y])).sum()
        error = np.exp(logits) / total[:, np.newaxis]
        error[rows, y] -= 1
        error *= weight[:, np.newaxis]
        slope = x.T @ error.astype(np.float32) + RIDGE * kernel
        value += RIDGE / 2 * (kernel**2).sum()
        return float(value), np.concatenate([slope.ravel(), error.sum(axis=0)])

    found = minimize(
        loss,
        np.zeros((width + 1) * rivals),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS},
    ).x
    kernel = np.zeros((width, classes), np.float32)
    kernel[:, there] = found[:-rivals].reshape(width, rivals) / spread[:, np.newaxis]
    bias = np.zeros(classes, np.float32)
    bias[there] = found[-rivals:]
    return kernel, bias - mean @ kernel
