#pragma once
// Block formats of quantized weights: decoding (llama.cpp's types).
