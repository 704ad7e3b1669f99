public import EspalierArchitectures
public import EspalierBasics
public import EspalierCalibration
public import EspalierCheckpoints
public import EspalierLinearMaps

extension Problem.Code {
  /// A type or mix that is not known.
  public static let quantizationType = Problem.Code("quantize.type")
}

/// What a user asks of a quantization to GGUF.
public struct QuantizationRequest: Sendable {
  public var mix: QuantizationMix
  /// Types by pattern; the last that matches holds.
  public var rules: [TensorTypeRule] = []
  /// Types by name, which a search has found; they go before rules.
  public var assigned: [ExactString: WeightFormat] = [:]
  /// Every matrix in the type of the mix, but for rules.
  public var isPure = false
  /// How scales are found.
  public var search = BlockEncoder.Search.reference
  /// What errors in columns count, by weight; nil for the magnitudes of weights alone.
  public var importance: ImportanceMatrix?
  /// What a file's own name of the importance is.
  public var importanceName: String?
  /// Whether tensors that are quantized already may be quantized again into fewer bits.
  public var allowsRequantizing = false
  /// llama.cpp's name for the way text is cut before it becomes tokens; nil to find it.
  public var preTokenizer: String?

  /// How matrices are rounded that are there in blocks when the file is written, in words.
  var calibration: String?

  public init(mix: QuantizationMix) { self.mix = mix }

  /// Reads what errors in columns count, from an importance matrix or from statistics, if there is one.
  ///
  /// - Throws: what reading them throws; `architecture.unsupported` for statistics of a family without GGUF names.
  public mutating func setImportance(
    imatrix: String?, statistics: String?, for checkpoint: any Checkpoint, families: [Architecture]
  ) throws(Problems) {
    if let imatrix {
      importance = try ImportanceMatrix(at: imatrix)
    } else if let statistics {
      do throws(Problem) {
        let mapping = try ImportanceMapping(config: checkpoint.config ?? [:], families: families)
        importance = try mapping.matrix(of: try StatisticsFile(at: statistics))
      } catch { throw Problems([error]) }
    }
    importanceName = (imatrix ?? statistics).map { FileSystem.lastComponent(of: $0) }
  }

  /// All that the bytes depend on beside the model, in a fixed order.
  var text: String {
    var lines = ["type \(mix.name)\(isPure ? ", all alike" : "")"]
    lines += rules.map { "tensor type \($0.text)" }
    lines += assigned.sorted { "\($0.key)" < "\($1.key)" }.map { "\($0.key) \($0.value.name)" }
    lines.append("search \(search.rawValue)")
    if let importance {
      lines.append("importance \(importanceName ?? "") \(Digest(of: Self.text(of: importance)))")
    }
    if let preTokenizer { lines.append("pre-tokenizer \(preTokenizer)") }
    if let calibration { lines += calibration.split(separator: "\n").map { "\($0)" } }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func text(of matrix: ImportanceMatrix) -> String {
    matrix.entries.map { "\($0.name) \($0.counts) \($0.squareSums)" }.joined(separator: "\n")
  }
}
