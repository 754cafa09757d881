"""One value: exponentials, activations and losses. A value is a vector of `simd`, of whatever width.

Branch-free: both sides of a condition are computed and one is selected. Coefficients are minimax fits (Remez or
Chebyshev nodes, computed with 50 digits); the bound of their relative error stands beside each.
Over all 2^32 float32, exp is within 1.06 units in the last place of the truth, sigmoid 1.48, tanh 1.62.

An activation gives (a, a'), a loss (l, dl/dz); formulas in `fastbp.activations` and `fastbp.losses`.
"""

import math

from ..simd.formula import formula
from ..simd.registers import absolute, fma, like, maximum, minimum, polynomial, rounded, where_positive
from .power import exp, exponent, scale

LOG2_E, LN_2 = math.log2(math.e), math.log(2)
SQRT_HALF = math.sqrt(0.5)
INVERSE_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715

# fmt: off
# (e^r - 1 - r) / r^2 for -0.2081 < r < 0.4854; the relative error of e^r - 1 is 1.9e-8 and 6.0e-19.
_exp_less_one_and_r = polynomial(
    float32=(0.5000001304146091, 0.16666770695155417, 0.04165705513202541, 0.008314887526972008, 0.0015580982028394717),
    float64=(0.5, 0.16666666666666666, 0.041666666666665775, 0.0083333333333364427, 0.001388888888969708,
             0.00019841269808766073, 2.4801585166850158e-5, 2.7557438105942171e-6, 2.7557891292215072e-7,
             2.4922164246714931e-8, 2.3520361333917911e-9),
)
# log(2) in two parts, the first with so few digits that n times it is exact.
_ln_2_high = polynomial(float32=(0.693145751953125,), float64=(0.69314718055920821,))
_ln_2_low = polynomial(float32=(1.4286068203094172e-6,), float64=(7.3710025651677990e-13,))
# 2 artanh(s) / s as a polynomial in s^2 for 0 <= s <= 1/3: 4.1e-9 and 3.5e-20.
_twice_artanh = polynomial(
    float32=(2.0, 0.66666321641377773, 0.40024595230703748, 0.27965157745197269, 0.28157778363109081),
    float64=(2.0, 0.66666666666666683, 0.39999999999992867, 0.28571428572622928, 0.22222222119103674,
             0.18181823422495252, 0.15384447060459968, 0.13336876815743835, 0.11715274668110425,
             0.10976616637947494, 0.06980390498332432, 0.16488285931389569),
)
# log(erfc(x) exp(x^2) / t) for x >= 0 as a polynomial in 2t - 1, t = 2 / (2 + x): 1.0e-7 and 3.9e-16, absolute.
_log_erfc = polynomial(
    float32=(-0.67179408405669227, 0.67264217002065936, 0.047343527644479334, -0.046874268280892518,
             -0.0098772443984323991, 0.0087016008956311005, 0.0017864968325701149, -0.0020458060272754162,
             -0.00021942687180480594, 0.00033244070197373446, 4.6578622888502652e-6),
    float64=(-0.67179408405669227, 0.67264322397765764, 0.047343306841898187, -0.046895610231268451,
             -0.0098726893657543083, 0.0088249385597550661, 0.0017589335383337571, -0.0023458125344643066,
             -0.00014624658592958964, 0.00067367901262357878, -9.3737248506498167e-5, -0.00017430363369776023,
             7.1411974508704723e-5, 3.1745645384059706e-5, -3.0223286477773745e-5, 1.4209346546812724e-7,
             8.6394870306956499e-6, -2.9659309682568464e-6, -1.3853401501611331e-6, 1.285104410924612e-6,
             -5.7455657652648969e-8, -2.9024371949781706e-7, 8.3546250062244222e-8, 2.992314438262682e-8,
             -1.3791176096342206e-8),
)
# fmt: on


# -- elementary functions --------------------------------------------------------------------------------------------


@formula
def exp_less_one(z):
    """e^z - 1 for z <= 50, accurate near 0: z = n log(2) + r, e^z - 1 = 2^n (e^r - 1) + 2^n - 1.

    For small positive z, where 2^n (e^r - 1) and 2^n - 1 would have opposite signs, n is 0 a little longer.
    """
    z = maximum(z, -1100.0)  # so that z - n log(2) is never inf - inf; e^-1100 is 0 in both dtypes
    n = rounded(fma(z, LOG2_E, -0.2))
    r = fma(n, -_ln_2_low(z), fma(n, -_ln_2_high(z), z))
    power = scale(like(r, 1.0), n)
    return fma(power, fma(r * r, _exp_less_one_and_r(r), r), power - 1.0)


@formula
def log1p(e):
    """log(1 + e) for 0 <= e <= 1: 2 artanh(s), s = e / (2 + e)."""
    s = e / (e + 2.0)
    return s * _twice_artanh(s * s)


@formula
def log(v):
    """log(v) for normal v >= 1."""
    n = exponent(v)
    return fma(n, LN_2, log1p(scale(v, -n) - 1.0))


@formula
def share(e, n):
    """e / (e + n) for positive e and n = 1 or 2, nearly as if rounded once.

    d + r = e + n and e = q d + t exactly, with d and q rounded; then e / (d + r) = q + (t - q r) / d to first order,
    and 1 / d = (1 - q) / n. Where d is so large that r is not exact, the result may be a little above 1.
    """
    d = e + n
    q, r = e / d, e - (d - n)
    return fma(fma(-q, r, fma(-q, d, e)), (1.0 - q) / n, q)


@formula
def smaller_logistic(z):
    """1 / (1 + exp(|z|)) = e / (e + 1), to 2 units in the last place."""
    return share(exp(-absolute(z)), 1.0)


@formula
def logistic(z):
    """1 / (1 + exp(-z)), to 2 units in the last place."""
    s = smaller_logistic(z)
    return where_positive(z, 1.0 - s, s)


@formula
def identity_link(z):
    """z."""
    return z


sigmoid_link, exp_link = logistic, exp


@formula
def normal_cdf(z):
    """Phi(z) = erfc(-z / sqrt(2)) / 2; the smaller tail is computed, the other is 1 less it."""
    x = absolute(z) * SQRT_HALF
    t = 2.0 / (x + 2.0)
    tail = t * 0.5 * exp(fma(-x, x, _log_erfc(t * 2.0 - 1.0)))
    return where_positive(z, 1.0 - tail, tail)


pair = formula(n_results=2)

# -- activations: (a, a') --------------------------------------------------------------------------------------------


@pair
def identity(z, parameter):
    return z, like(z, 1.0)


@pair
def sigmoid(z, parameter):
    s = smaller_logistic(z)
    return where_positive(z, 1.0 - s, s), fma(-s, s, s)


@pair
def tanh(z, parameter):
    less_one = exp_less_one(minimum(absolute(z) * 2.0, 50.0))  # beyond, tanh is 1
    magnitude = minimum(share(less_one, 2.0), 1.0)
    a = where_positive(z, magnitude, -magnitude)
    return a, fma(-a, a, 1.0)


@pair
def relu(z, parameter):
    return where_positive(z, z, 0.0), where_positive(z, 1.0, 0.0)


@pair
def leaky_relu(z, slope):
    return where_positive(z, z, z * slope), where_positive(z, 1.0, slope)


@pair
def elu(z, alpha):
    below = exp_less_one(minimum(z, 0.0))
    return where_positive(z, z, below * alpha), where_positive(z, 1.0, fma(below, alpha, alpha))


@pair
def softplus(z, parameter):
    e = exp(-absolute(z))
    return where_positive(z, z, 0.0) + log1p(e), where_positive(z, 1.0, e) / (e + 1.0)


@pair
def silu(z, parameter):
    s = logistic(z)
    return z * s, s * fma(z, 1.0 - s, 1.0)


@pair
def gelu(z, parameter):
    cdf = normal_cdf(z)
    density = exp(z * z * -0.5) * INVERSE_SQRT_2PI
    return z * cdf, fma(z, density, cdf)


@pair
def gelu_tanh(z, parameter):
    bounded = minimum(maximum(z, -1e3), 1e3)  # beyond, tanh is +-1 and the cube might overflow
    squared = bounded * bounded
    t, slope = tanh(bounded * fma(squared, CUBIC, 1.0) * SQRT_2_OVER_PI, parameter)
    half = fma(t, 0.5, 0.5)
    inner = fma(squared, 3.0 * CUBIC, 1.0) * SQRT_2_OVER_PI
    return z * half, fma(bounded * 0.5 * slope, inner, half)


# -- losses of one output: (l, dl/dz) --------------------------------------------------------------------------------


@pair
def binary_cross_entropy(z, y, parameter):
    e = exp(-absolute(z))
    loss = fma(-y, z, where_positive(z, z, 0.0)) + log1p(e)
    return loss, where_positive(z, 1.0, e) / (e + 1.0) - y


@pair
def squared_error(z, y, parameter):
    r = z - y
    return r * r * 0.5, r


@pair
def absolute_error(z, y, parameter):
    r = z - y
    return absolute(r), where_positive(r, 1.0, where_positive(-r, -1.0, like(r, 0.0)))


@pair
def huber(z, y, delta):
    r = z - y
    clipped = minimum(maximum(r, -delta), delta)
    return clipped * fma(clipped, -0.5, r), clipped


@pair
def quantile(z, y, q):
    r = z - y
    d_z = where_positive(r, 1.0 - q, where_positive(-r, -q, like(r, 0.0)))
    return d_z * r, d_z


@pair
def poisson(z, y, parameter):
    mean = exp(z)
    return fma(-y, z, mean), mean - y


@pair
def pullback(z, y, parameter):
    """Of a given dl/dz = y: its gradient is the pullback of y."""
    return y * z, y


@pair
def custom(z, y, parameter):
    """Of the user's own loss, which has been called: dl/dz stands in place of z, l in place of y."""
    return y, z
