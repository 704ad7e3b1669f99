public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What packing came to.
public struct PackingReport: Sendable {
  /// A file that was packed.
  struct Packed: Sendable {
    var name: String
    var bytesBefore: Int
    var bytesAfter: Int
    var hasBase: Bool
    /// What was lost; nil: nothing.
    var loss: PackedLoss.File?
    /// Bytes before and after, by type.
    var types: [(type: String, before: Int, after: Int)] = []

    init(_ name: String, _ archive: ArchivedFile) {
      self.name = name
      (bytesBefore, bytesAfter) = (archive.header.byteCount, archive.storedBytes)
      hasBase = !archive.header.base.isEmpty
      loss = PackedLoss.File(name, archive)
      for (part, stored) in zip(archive.header.parts, archive.partBytes) {
        let type = part.name.hasPrefix("espalier.") ? "header" : part.type.rawValue
        let index = types.firstIndex { $0.type == type } ?? types.count
        if index == types.count { types.append((type, 0, 0)) }
        types[index].before += part.byteCount
        types[index].after += stored
      }
    }
  }

  let model: String
  let output: String
  let base: String?
  var files: [Packed] = []
  /// In bytes; nil: nothing is lost.
  let goal: Double?
  let copied: Int
  let copiedBytes: Int
  /// Of measuring and rounding.
  var secondsRounding = 0.0
  /// Of coding and writing.
  public var seconds = 0.0
  /// Of decoding everything again and comparing it.
  public var secondsReadBack = 0.0

  init(of plan: PackingPlan) {
    (model, output, base) = (plan.model, plan.options.output, plan.options.base)
    goal = plan.options.lossy.map { lossy in lossy.goal.bytes(of: plan.packed.reduce(0) { $0 + $1.byteCount }) }
    let copied = plan.entries.filter { $0.header == nil }
    (self.copied, copiedBytes) = (copied.count, copied.reduce(0) { $0 + $1.byteCount })
  }

  mutating func add(_ file: Packed) { files.append(file) }

  public var bytesBefore: Int { files.reduce(0) { $0 + $1.bytesBefore } }
  public var bytesAfter: Int { files.reduce(0) { $0 + $1.bytesAfter } }

  private static func ratio(_ after: Int, _ before: Int) -> String {
    before == 0 ? "" : Decimals.text(100 * Double(after) / Double(before), 2) + " %"
  }

  public var text: String {
    var rows: [(name: String, before: Int, after: Int)] = []
    for file in files {
      rows.append((file.name, file.bytesBefore, file.bytesAfter))
      rows += file.types.map { ("  " + $0.type, $0.before, $0.after) }
    }
    if files.count > 1 { rows.append(("all", bytesBefore, bytesAfter)) }
    var table = TextTable()
    table.add("", align: .left, rows.map(\.name))
    table.add("before", rows.map { ByteCount.text($0.before) })
    table.add("packed", rows.map { ByteCount.text($0.after) })
    table.add("of it", rows.map { Self.ratio($0.after, $0.before) })
    var lines = table.lines
    if let base { lines.append("against   \(base), which has to stay where it is") }
    if copied > 0 {
      lines.append("copied    \(copied) other file\(copied == 1 ? "" : "s"), \(ByteCount.text(copiedBytes))")
    }
    if let goal {
      lines += [loss.summary ?? "", "asked for  \(ByteCount.text(Int(goal))), " + Self.times(bytesBefore, goal)]
      lines.append("became     \(ByteCount.text(bytesAfter)), " + Self.times(bytesBefore, Double(bytesAfter)))
      lines.append("measured and rounded in \(Decimals.text(secondsRounding, 2)) s")
    }
    let rate = ByteCount.text(Int(Double(bytesBefore) / max(seconds, 1e-9)))
    lines.append(
      "packed in \(Decimals.text(seconds, 2)) s (\(rate) a second); read back and equal in "
        + "\(Decimals.text(secondsReadBack, 2)) s")
    return lines.joined(separator: "\n")
  }

  public var json: JSON {
    [
      "event": "packed", "model": .string(model), "output": .string(output), "base": base.map { .string($0) } ?? .null,
      "bytes_before": .number(bytesBefore), "bytes": .number(bytesAfter), "copied_bytes": .number(copiedBytes),
      "seconds": .number(seconds), "seconds_read_back": .number(secondsReadBack),
      "peak_bytes": Machine.peakResidentBytes.map { .number($0) } ?? .null,
      "goal_bytes": goal.map { .number($0) } ?? .null, "lossy": goal == nil ? .null : loss.json,
      "files": .array(
        files.map { file in
          [
            "name": .string(file.name), "bytes_before": .number(file.bytesBefore), "bytes": .number(file.bytesAfter),
            "types": .array(
              file.types.map {
                ["type": .string($0.type), "bytes_before": .number($0.before), "bytes": .number($0.after)]
              }),
          ]
        }),
    ]
  }

  private static func times(_ before: Int, _ after: Double) -> String {
    after > 0 ? "\(Decimals.text(Double(before) / after, 2)) times smaller than the files of weights" : ""
  }

  /// What was lost of all files.
  var loss: PackedLoss { PackedLoss(files: files.compactMap(\.loss)) }

  /// REPORT.md of a folder that was packed with loss. It tells of no seconds, so that two runs of one request write the
  /// same.
  var markdown: String {
    var lines = ["# Packed with loss", ""]
    lines.append(
      "The numbers of these files are not those of the model that was packed: they were rounded, so that \(bytesBefore) "
        + "bytes of weights became \(bytesAfter)"
        + (goal.map { " (\(Int($0.rounded())) were asked for)" } ?? "") + ". What was not rounded is as it was.")
    lines += ["", loss.summary ?? ""]
    for file in loss.files {
      lines += ["", "## \(file.name)", "", "| tensor | type | bytes | packed | error of weights | of outputs |"]
      lines.append("|---|---|---:|---:|---:|---:|")
      lines += file.tensors.map { tensor in
        "| \(tensor.name) | \(tensor.type) | \(tensor.before) | \(tensor.after) | "
          + "\(Decimals.text(tensor.weightError, 4)) | \(tensor.outputError.map { Decimals.text($0, 4) } ?? "") |"
      }
    }
    return lines.joined(separator: "\n")
  }
}
