/// How a network computes. Every figure prints its own.
public enum NumericMode: String, Sendable, Hashable, Codable, CaseIterable {
  /// Dequantized weights, float32 activations; a row's result does not depend on the rows around it, nor on threads.
  case exact
  /// Activations rounded to what the processor multiplies fastest (16-bit integers, bfloat16), fused kernels.
  case fast
}
