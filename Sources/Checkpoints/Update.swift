/// What turns a base parameter into a fine-tuned one (Hu et al. 2021; Liu et al. 2022 and 2024).
///
/// Shapes are those of a linear map `[out, in]`; `transposed` says that the parameter is stored `[in, out]`.
public enum Update: Sendable, Hashable, Codable {
  /// `W + scale * B A` with A `[rank, in]` and B `[out, rank]` (LoRA; for an embedding the transposed product).
  case lowRank(a: StoredTensor, b: StoredTensor, scale: Float, transposed: Bool)
  /// `m * V / |V|` row by row with `V = W + scale * B A`, m `[out]` (DoRA); norms over `in`.
  case weightDecomposed(
    a: StoredTensor, b: StoredTensor, scale: Float, magnitude: StoredTensor, transposed: Bool)
  /// Multiplies output rows (`alongInput` false) or input columns (true) by a vector (IA3).
  case scaled(by: StoredTensor, alongInput: Bool, transposed: Bool)

  public var storedTensors: [StoredTensor] {
    switch self {
    case .lowRank(let a, let b, _, _): [a, b]
    case .weightDecomposed(let a, let b, _, let magnitude, _): [a, b, magnitude]
    case .scaled(let vector, _, _): [vector]
    }
  }
}
