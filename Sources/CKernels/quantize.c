// Sixteen blocks at a time, compiled for each instruction set.
#define LANES 16
#define QUANTIZER(name) es_quantize_##name
#define QUANTIZER_CLONES ES_CLONES
#include "quantize_rows.h"
