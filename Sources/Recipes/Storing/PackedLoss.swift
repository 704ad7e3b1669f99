public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What packed files say of what they lost.
public struct PackedLoss: Sendable {
  struct Tensor: Sendable {
    var name: String
    var type: String
    var before: Int
    var after: Int
    /// ‖W - W'‖_F / ‖W‖_F: exact.
    var weightError: Double
    /// ‖(W - W') X‖_F / ‖W X‖_F: measured on calibration text, if there was some.
    var outputError: Double?
  }

  struct File: Sendable {
    var name: String
    var tensors: [Tensor]

    /// Nil for one that lost nothing.
    init?(_ name: String, _ archive: ArchivedFile) {
      guard let loss = archive.header.loss else { return nil }
      self.name = name
      let sizes = archive.partBytes
      // What repeats another has neither a name nor bytes of its own.
      tensors = loss.parts.compactMap { lost in
        let part = archive.header.parts[lost.part]
        guard part.content == .stored else { return nil }
        return Tensor(
          name: part.name, type: part.type.rawValue, before: part.byteCount, after: sizes[lost.part],
          weightError: lost.weightError, outputError: lost.outputError)
      }
    }
  }

  let files: [File]

  init(files: [File]) { self.files = files }

  /// What the packed files at a path lost: a packed file, what it stands for, or a folder. Nil if they lost nothing.
  public init?(at path: String) {
    let paths = PackedVerification.files(at: path) + PackedVerification.files(at: path + WeightFile.packedSuffix)
    files = paths.compactMap { path in
      (try? ArchivedFile(at: path)).flatMap { File(WeightFile.name(FileSystem.lastComponent(of: path)), $0) }
    }
    guard !files.isEmpty else { return nil }
  }

  private var tensors: [Tensor] { files.flatMap(\.tensors) }

  /// One line; nil if nothing was lost.
  public var summary: String? {
    guard !files.isEmpty else { return nil }
    func range(_ errors: [Double]) -> String {
      let sorted = errors.sorted()
      guard let least = sorted.first, let most = sorted.last else { return "" }
      return "\(Decimals.text(least, 3)) to \(Decimals.text(most, 3)), median "
        + Decimals.text(sorted[sorted.count / 2], 3)
    }
    let outputs = tensors.compactMap(\.outputError)
    let measured =
      outputs.isEmpty
      ? "" : ", of outputs \(range(outputs)) (measured on calibration text, \(outputs.count) tensors)"
    return "lossy: \(tensors.count) tensors are not as they were; relative error of weights "
      + range(tensors.map(\.weightError)) + " (exact)" + measured
  }

  /// A line a tensor.
  public var table: String {
    var table = TextTable()
    table.add("rounded", align: .left, tensors.map(\.name))
    table.add("before", tensors.map { ByteCount.text($0.before) })
    table.add("packed", tensors.map { ByteCount.text($0.after) })
    table.add("error of weights", tensors.map { Decimals.text($0.weightError, 4) })
    if tensors.contains(where: { $0.outputError != nil }) {
      table.add("of outputs", tensors.map { $0.outputError.map { Decimals.text($0, 4) } ?? "" })
    }
    return table.lines.joined(separator: "\n")
  }

  public var json: JSON {
    .array(
      files.map { file in
        [
          "name": .string(file.name),
          "tensors": .array(
            file.tensors.map { tensor in
              [
                "name": .string(tensor.name), "type": .string(tensor.type), "bytes_before": .number(tensor.before),
                "bytes": .number(tensor.after), "weight_error": .number(tensor.weightError),
                "output_error": tensor.outputError.map { .number($0) } ?? .null,
              ]
            }),
        ]
      })
  }

  func text(pretty: Bool) -> String {
    JSON.object([("espalier_lossy", 1), ("files", json)]).text(pretty: pretty)
  }
}
