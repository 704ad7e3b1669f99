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
    case .blocks(let type):
      switch type {
      case .q4_0: es_linear_widen_q4_0
      case .q4_1: es_linear_widen_q4_1
      case .q5_0: es_linear_widen_q5_0
      case .q5_1: es_linear_widen_q5_1
      case .q8_0: es_linear_widen_q8_0
      case .iq4_nl: es_linear_widen_iq4_nl
      case .mxfp4: es_linear_widen_mxfp4
      case .q2_K: es_linear_widen_q2_K
      case .q3_K: es_linear_widen_q3_K
      case .q4_K: es_linear_widen_q4_K
      case .q5_K: es_linear_widen_q5_K
      case .q6_K: es_linear_widen_q6_K
      case .q8_K: es_linear_widen_q8_K
      case .iq4_xs: es_linear_widen_iq4_xs
      }
    }
  }
}
