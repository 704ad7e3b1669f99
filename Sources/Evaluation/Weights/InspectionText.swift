internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension Inspection {
  /// How far a text goes into detail.
  public enum Detail: String, Sendable, CaseIterable { case summary, layers, tensors }

  /// The inspection for people: what the model is, tables of types and roles, what does not fit, and then a line a
  /// layer or a tensor.
  public func text(detail: Detail = .summary) -> String {
    var sections = [heading]
    if tensors.isEmpty { return heading.joined(separator: "\n") + "\n" }
    sections.append(Self.table("type", types))
    if outline.family != nil { sections.append(Self.table("role", roles)) }
    if modules.count > 1 { sections.append(Self.table("module", modules)) }
    sections.append(findings)
    sections.append(detail == .tensors ? reducedTensorTable : reducedTable)
    switch detail {
    case .summary: break
    case .layers: sections.append(Self.table("layer", layers))
    case .tensors: sections += [tensorTable, spectrumTable]
    }
    return sections.filter { !$0.isEmpty }.map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
  }

  private var heading: [String] {
    [
      location,
      "family      \(outline.family ?? "not recognised: places are inferred from names")",
      "tensors     \(tensors.count)",
      "parameters  \(parameterCount) (\(Figures.count(parameterCount)))",
      "bytes       \(byteCount) (\(ByteCount.text(byteCount)))"
        + (reduced.isEmpty ? "" : ", \(ByteCount.text(plainByteCount)) with the reduced forms written out"),
    ]
  }

  private static func table(_ title: String, _ groups: [Group]) -> [String] {
    var table = TextTable()
    table.add(title, align: .left, groups.map(\.name))
    table.add("tensors", groups.map { "\($0.tensorCount)" })
    table.add("parameters", groups.map { Figures.count($0.parameterCount) })
    table.add("bytes", groups.map { ByteCount.text($0.byteCount) })
    table.addStatistics(groups.map(\.statistics))
    return table.lines
  }

  private var tensorTable: [String] {
    var table = TextTable()
    table.add("tensor", align: .left, tensors.map(\.parameter.name))
    table.add("shape", tensors.map { Figures.shape($0.parameter.shape) })
    table.add("type", align: .left, tensors.map(\.typeName))
    table.add("bytes", tensors.map { ByteCount.text($0.byteCount) })
    table.add("role", align: .left, tensors.map(\.place.roleName))
    table.addStatistics(tensors.map(\.statistics))
    return table.lines
  }

  private var spectrumTable: [String] {
    SpectrumTable.lines(tensors.compactMap { tensor in tensor.spectrum.map { (tensor.parameter.name, $0) } })
  }

  /// What a reader should know of: ties, what the description does not know or misses, damage.
  private var findings: [String] {
    var lines = outline.ties.map { tie in
      "tied: \(tie.name) to \(tie.target)\(tie.isStored ? ", and stored all the same" : "")"
    }
    lines += outline.unknown.map { "unknown to the family: \($0)" }
    lines += outline.repeated.map { "stored a second time: \($0)" }
    lines += outline.missing.map { "missing: \($0)" }
    lines += outline.misfits.map {
      "shape: \($0.name) is \(Figures.shape($0.found)), the config asks for \(Figures.shape($0.expected))"
    }
    for tensor in tensors {
      guard let statistics = tensor.statistics, statistics.nonFiniteCount > 0 else { continue }
      lines.append(
        "damaged: \(tensor.parameter.name) holds \(statistics.nanCount) NaN and \(statistics.infinityCount) infinite")
    }
    return lines + outline.problems.map(\.description)
  }
}

extension TextTable {
  /// Columns of what was measured; none where nothing was.
  fileprivate mutating func addStatistics(_ statistics: [TensorStatistics?]) {
    guard statistics.contains(where: { $0 != nil }) else { return }
    add("L2 norm", statistics.map { Figures.text($0?.norm) })
    add("RMS", statistics.map { Figures.text($0?.rootMeanSquare) })
    add("min", statistics.map { Figures.text($0?.minimum) })
    add("max", statistics.map { Figures.text($0?.maximum) })
    add("zeros", statistics.map { $0.map { Figures.percent($0.zeroFraction) } ?? "-" })
    guard statistics.contains(where: { $0?.nonFiniteCount ?? 0 > 0 }) else { return }
    add("NaN", statistics.map { "\($0?.nanCount ?? 0)" })
    add("inf", statistics.map { "\($0?.infinityCount ?? 0)" })
  }
}

/// Spectra as a table, with a note on what is estimated.
enum SpectrumTable {
  static func lines(_ spectra: [(name: String, spectrum: Result<Spectrum, Problem>)]) -> [String] {
    let found = spectra.compactMap { entry in (try? entry.spectrum.get()).map { (name: entry.name, spectrum: $0) } }
    var lines: [String] = []
    if !found.isEmpty {
      var table = TextTable()
      table.add("spectrum of", align: .left, found.map(\.name))
      table.add("largest", found.map { $0.spectrum.estimated(Figures.text($0.spectrum.largest)) })
      table.add("smallest", found.map { Figures.text($0.spectrum.smallest) })
      table.add("stable rank", found.map { $0.spectrum.estimated(Figures.text($0.spectrum.stableRank)) })
      table.add("rank 90 %", found.map { $0.spectrum.rank($0.spectrum.energyRank90) })
      table.add("rank 99 %", found.map { $0.spectrum.rank($0.spectrum.energyRank99) })
      lines = table.lines
    }
    if found.contains(where: { $0.spectrum.method == .randomized }) {
      lines.append(
        "~ estimated by a randomized method from \(Spectrum.leadingCount) values: the smaller side exceeds "
          + "\(Spectrum.largestComplete)")
    }
    for case (let name, .failure(let problem)) in spectra { lines.append("no spectrum of \(name): \(problem.message)") }
    return lines
  }
}

extension Spectrum {
  fileprivate func estimated(_ text: String) -> String { (method == .randomized ? "~" : "") + text }

  /// A rank, or that it lies beyond the values computed.
  fileprivate func rank(_ rank: Int?) -> String { rank.map { estimated("\($0)") } ?? ">\(count)" }
}
