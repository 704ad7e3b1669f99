#pragma once
#include "quantize.h"

// What each file of quantizers hands out.
es_quantizer *es_quantizer_reference_of(es_quantized_type type);
es_quantizer *es_quantizer_refined_of(es_quantized_type type);
es_quantizer *es_quantizer_portable_of(es_quantized_type type);
es_quantizer *es_quantizer_refined_portable_of(es_quantized_type type);
