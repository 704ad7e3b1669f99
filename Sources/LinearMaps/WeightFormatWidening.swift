internal import CKernels
internal import EspalierNumerics

extension WeightFormat {
  /// How a product widens rows of this format, nil where they are no weights.
  var widening: StoredRows.Widening? {
    switch self {
    case .elements(let type):
      switch type {
      case .f64: es_linear_widen_f64
      case .f32: es_linear_widen_f32
      case .f16: es_linear_widen_f16
      case .bf16: es_linear_widen_bf16
      case .f8e4m3: es_linear_widen_f8e4m3
      case .f8e5m2: es_linear_widen_f8e5m2
      default: nil
      }
    case .blocks: nil
    }
  }
}
