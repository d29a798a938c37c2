"""Real images: 1,797 handwritten digits of 8 × 8 pixels, from scikit-learn (UCI, optical recognition, its test set)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcollapse._schedule import brief
from jaxcollapse.families.kernel import KernelDensity


def digits(test_share: float = 0.2) -> tuple[KernelDensity, Float[Array, "m d"]]:
    """The law that draws one of the training images, and the images that are held out from it.

    d = 64 pixels by rows, grey values in [0, 1] (of 16 levels above 0); round(1797 · test_share) images are held out,
    the same ones at every call. The law is an empirical one, `KernelDensity` with covariance 0: no draw is new.
    Errors: `ImportError` without scikit-learn (the extra `data`); `ValueError` for a share that leaves either part
    empty.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("corpora.digits needs scikit-learn; try pip install 'jaxcollapse[data]'") from error
    images = np.asarray(load_digits(return_X_y=True)[0], float) / 16
    held = round(len(images) * test_share) if np.ndim(test_share) == 0 and 0 < test_share < 1 else 0
    if not 0 < held < len(images):
        raise ValueError(f"test_share: got {brief(test_share)}, expected a share between 0 and 1; try 0.2")
    images = jnp.asarray(images[np.random.default_rng(0).permutation(len(images))], float)
    test, train = images[:held], images[held:]
    d = train.shape[1]
    return KernelDensity(train, jnp.ones(len(train)), jnp.zeros((d, d))), test
