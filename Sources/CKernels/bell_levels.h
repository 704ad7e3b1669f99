#pragma once

/// Levels of the four-bit types IQ4_NL and IQ4_XS, spaced like the quantiles of a bell curve.
static const float bell_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
