/// What turns a base parameter into a fine-tuned one (Hu et al. 2021, arXiv:2106.09685; Liu et al. 2022,
/// arXiv:2205.05638; Liu et al. 2024, arXiv:2402.09353).
///
/// A linear map has shape `[out, in]`; `transposed` says that the parameter is stored `[in, out]`, as GPT-2's Conv1D
/// and embeddings (`[vocabulary, width]`, in = vocabulary) are. Dimensions behind the second, of a convolution, count
/// as inputs.
public enum Update: Sendable, Hashable, Codable {
  /// `W + scale * B A` with A `[rank, in]` and B `[out, rank]` (LoRA).
  case lowRank(a: StoredTensor, b: StoredTensor, scale: Float, transposed: Bool)
  /// `m * V / |V|` output by output with `V = W + scale * B A`, m `[out]` (DoRA); norms over `in`.
  case weightDecomposed(
    a: StoredTensor, b: StoredTensor, scale: Float, magnitude: StoredTensor, transposed: Bool)
  /// Multiplies by a vector that runs along the first stored dimension (0) or the last (1) (IA3).
  case scaled(by: StoredTensor, dimension: Int)
  /// Adds a coded change, element by element.
  case delta(DeltaTensor)
  /// ``lowRank(a:b:scale:transposed:)`` with factors in coded forms.
  case codedLowRank(a: DeltaTensor, b: DeltaTensor, scale: Float, transposed: Bool)

  public var storedTensors: [StoredTensor] {
    switch self {
    case .lowRank(let a, let b, _, _): [a, b]
    case .weightDecomposed(let a, let b, _, let magnitude, _): [a, b, magnitude]
    case .scaled(let vector, _): [vector]
    case .delta(let change): change.parts
    case .codedLowRank(let a, let b, _, _): a.parts + b.parts
    }
  }
}
