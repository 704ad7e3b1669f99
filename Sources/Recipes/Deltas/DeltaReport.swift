public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierNumerics

/// What a delta keeps, loses and takes.
public struct DeltaReport: Sendable {
  let making: DeltaMaking
  let chosen: DeltaMaking.Candidate
  let tried: [DeltaMaking.Candidate]
  let seconds: Double
  /// Of the file, its header included.
  public let fileBytes: Int

  static let norm = "‖delta - coded‖ / ‖delta‖, measured"

  /// Of all tensors.
  public var error: Double { chosen.error }
  /// Bytes of the parts, and what an order-0 coder of bytes would need for them.
  public var bytes: Int { chosen.tensors.reduce(0) { $0 + $1.bytes } }
  public var entropyBytes: Int { Int(chosen.tensors.reduce(0) { $0 + $1.entropyBytes }.rounded(.up)) }
  public var halfBytes: Int { making.changes.halfBytes }
  /// The method that was taken, and what its coded tensors were multiplied by.
  public var method: DeltaMethod { chosen.method }
  public var factor: Double { chosen.factor }

  private static func error(_ tensor: EncodedDelta) -> Double {
    tensor.squaredNorm > 0 ? (tensor.squaredError / tensor.squaredNorm).squareRoot() : 0
  }

  /// How the file says it was made.
  var made: JSON {
    var made = making.options.record
    made["chosen"] = .string(chosen.method.rawValue)
    made["factor"] = .number(chosen.factor)
    made["error"] = .number(error)
    return made
  }

  public var json: JSON {
    var json: JSON = [
      "event": "delta", "output": .string(making.options.output), "base": .string(making.baseName),
      "fine_tune": .string(making.fineTunedName), "kind": .string(making.adapterConfig == nil ? "model" : "adapter"),
      "made": made, "error_norm": .string(Self.norm), "error": .number(error), "file_bytes": .number(fileBytes),
      "bytes": .number(bytes), "bytes_order0": .number(entropyBytes), "bytes_f16": .number(halfBytes),
      "ratio": .number(Double(halfBytes) / Double(max(1, fileBytes))),
      "ratio_order0": .number(Double(halfBytes) / Double(max(1, entropyBytes))),
      "unchanged_tensors": .number(making.changes.targets.count - chosen.tensors.count),
      "tried": .array(
        tried.map {
          [
            "method": .string($0.method.rawValue), "factor": .number($0.factor), "error": .number($0.error),
            "negative_log_likelihood": $0.loss.map { .number($0) } ?? .null,
          ]
        }),
    ]
    json["tensors"] = .array(
      chosen.tensors.map {
        [
          "name": .string($0.tensor.name), "form": .string($0.tensor.form.name),
          "shape": .array($0.tensor.shape.map { .number($0) }), "kept": .number($0.kept),
          "scale": .number($0.tensor.scale), "delta_norm": .number($0.squaredNorm.squareRoot()),
          "error": .number(Self.error($0)), "bytes": .number($0.bytes), "bytes_order0": .number($0.entropyBytes),
        ]
      })
    json["seconds"] = .number(seconds)
    json["peak_bytes"] = Machine.peakResidentBytes.map { .number($0) } ?? .null
    return json
  }

  public var text: String {
    let how = making.options.method == .auto || tried.count > 1 ? ", factor \(Figures.text(factor))" : ""
    var lines = [
      "\(Figures.plural(chosen.tensors.count, "tensor")) by \(method.rawValue)\(how); error \(Figures.text(error)) (\(Self.norm))",
      "\(ByteCount.text(halfBytes)) in float16 become a file of \(ByteCount.text(fileBytes)), 1/"
        + "\(Figures.text(Double(halfBytes) / Double(max(1, fileBytes)))); \(ByteCount.text(bytes)) before they were coded",
    ]
    let unchanged = making.changes.targets.count - chosen.tensors.count
    if unchanged > 0 { lines.append("\(Figures.plural(unchanged, "tensor")) did not change") }
    if tried.count > 1 {
      var table = TextTable()
      table.add("tried", align: .left, tried.map(\.method.rawValue))
      table.add("factor", tried.map { Figures.text($0.factor) })
      table.add("error", tried.map { Figures.text($0.error) })
      table.add("perplexity", tried.map { Figures.text($0.loss.map { Elementary.exp($0) }, significant: 5) })
      lines += [""] + table.lines
    }
    let worst = chosen.tensors.enumerated().sorted {
      (Self.error($1.element), $0.offset) < (Self.error($0.element), $1.offset)
    }.prefix(5).map(\.element)
    var table = TextTable()
    table.add(chosen.tensors.count > 5 ? "largest errors" : "tensor", align: .left, worst.map(\.tensor.name))
    table.add("form", align: .left, worst.map(\.tensor.form.name))
    table.add("shape", worst.map { Figures.shape($0.tensor.shape) })
    table.add("kept", worst.map { Figures.count($0.kept) })
    table.add("error", worst.map { Figures.text(Self.error($0)) })
    table.add("bytes", worst.map { ByteCount.text($0.bytes) })
    lines += [""] + table.lines
    let peak = Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown"
    lines += [
      "",
      "\(making.options.output): \(ByteCount.text(fileBytes)), \(Decimals.text(seconds, 1)) s, peak memory \(peak); "
        + "use it as \(making.baseName)+\(making.options.output)",
    ]
    return lines.joined(separator: "\n")
  }
}
