internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints

/// Something that makes a model smaller, of which a fit may use some or all.
public enum FitKnob: String, Sendable, Hashable, CaseIterable {
  /// Codes of fewer bits, by GPTQ.
  case bits
  /// Products of factors, by a whitened SVD.
  case rank
  /// Zeros that are not stored, by SparseGPT.
  case sparsity
  /// Layers that leave.
  case depth
}

/// A model that is to take a number of bytes, by whatever loses least.
public struct FitRequest: Sendable {
  /// Of all tensors of the model together, at most.
  public var bytes: Int
  public var knobs = Set(FitKnob.allCases)
  /// A file of `calibrate`, by which errors are measured; nil to gather on the text.
  public var statistics: String?
  /// What matrices are calibrated on when they are made smaller.
  public var text: CalibrationText?
  /// What predictions are compared on; nil takes errors of matrices for what is lost, and lets no layer leave.
  public var effects: CalibrationText?
  /// Regular expressions; a matrix stays as it is if one is found in its name.
  public var keep: [String] = []
  /// A file of what an earlier fit measured of the same, for another size; nil to measure.
  public var table: String?
  /// A file to keep what is measured in.
  public var savedTable: String?

  public init(bytes: Int) { self.bytes = bytes }
}
