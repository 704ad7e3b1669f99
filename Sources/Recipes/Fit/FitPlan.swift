internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction
internal import EspalierRestructuring

/// Everything about a fit that is known before a weight is read.
public struct FitPlan: Sendable {
  public let request: FitRequest
  public let checkpoint: any Checkpoint
  /// As the user names the model.
  public let model: String
  public let warnings: [Problem]
  let run: RunOptions
  let options: MergeOptions
  let forms: [FitForm]
  /// Of the model as it is: what is gathered, and each form by itself.
  let reductions: FitReductions
  /// What runs the model on text; nil without one.
  let structure: RestructuringPlan?
  /// What an earlier fit measured; nil if this one is to measure.
  private(set) var table: FitTable?

  /// Bytes of all tensors as they are.
  public var bytesBefore: Int { reductions.gathering.conversion.tensorBytes }
  public var matrixCount: Int { reductions.gathering.matrixCount }

  /// - Parameter writing: where the result goes, and under which ceiling.
  /// - Throws: every problem that can be known from headers.
  public init(
    _ request: FitRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions, writing: MergeOptions
  ) throws(Problems) {
    (self.request, self.checkpoint, self.model, options) = (request, checkpoint, model, writing)
    self.run = run
    guard request.statistics != nil || request.text != nil else {
      throw Problems([
        Problem(
          .reduction, "a fit needs to know what reaches the matrices",
          remedy: "Give --text, or --statistics of `espalier calibrate`.")
      ])
    }
    if request.knobs == [.depth], request.effects == nil {
      throw Problems([
        Problem(.reduction, "which layers may leave is measured on text", remedy: "Give --text or --effect-text.")
      ])
    }
    if let effects = request.effects {
      var asked = RestructuringRequest(method: LayerDropping.card.name, goal: .share(0.5), source: .text(effects))
      asked.parameters = [:]
      structure = try RestructuringPlan(
        asked, of: model, checkpoint: checkpoint, run: run, writing: writing, isExecuted: false)
    } else {
      structure = nil
    }
    let source: ReductionRequest.Source =
      request.statistics.map { .file($0) } ?? request.text.map { .text($0, isSequential: false) } ?? .nothing
    do throws(Problem) {
      let network = try Network(
        checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
      forms = try FitForm.all(request.knobs, widths: try Self.widths(of: network))
    } catch { throw Problems([error]) }
    reductions = try FitReductions(
      forms, source: source, keep: request.keep, of: model, checkpoint: checkpoint, run: run, writing: writing)
    warnings = (reductions.gathering.warnings + (structure?.warnings ?? [])).uniqued()
    guard request.bytes < bytesBefore else {
      throw Problems([
        Problem(
          .reduction,
          "the model takes \(ByteCount.text(bytesBefore)), which is no more than \(ByteCount.text(request.bytes))",
          remedy: "Ask for a smaller --size.")
      ])
    }
    let least = leastBytes
    guard request.bytes >= least else {
      throw Problems([
        Problem(
          .reduction,
          "\(ByteCount.text(request.bytes)) cannot be reached: no choice takes less than \(ByteCount.text(least))",
          remedy: "Ask for a larger --size.")
      ])
    }
    if let path = request.savedTable, !FileSystem.isFolder(FileSystem.parent(of: path)) {
      throw Problems([Problem(.reduction, "there is no folder for the table that is to be kept", file: path)])
    }
    do throws(Problem) { table = try keptTable() } catch { throw Problems([error]) }
  }

  /// What every choice takes at the least: two bits for a number of a matrix, if codes or factors are asked for, and as
  /// few layers as may be left.
  var leastBytes: Int {
    let saved: [ExactString: Int] =
      request.knobs == [.depth]
      ? [:]
      : Dictionary(
        reductions.targets.map { (ExactString($0.parameter.name), $0.denseBytes - $0.parameter.elementCount / 4) },
        uniquingKeysWith: max)
    let least = bytesBefore - saved.values.reduce(0, +)
    guard mostLayers > 0, let structure, let tower = structure.description.layeredTower else { return least }
    var layers = [Int](repeating: 0, count: tower.layerCount)
    for parameter in checkpoint.parameters {
      guard let described = structure.description.parameter(named: parameter.name), described.tower == tower.name,
        let layer = described.layer
      else { continue }
      let dense = parameter.elementCount * parameter.elementType.byteWidth
      layers[layer] += dense - (saved[ExactString(parameter.name)] ?? 0)
    }
    return least - layers.sorted(by: >).prefix(mostLayers).reduce(0, +)
  }

  /// How many layers may leave beside other forms: a quarter; alone all but one.
  var mostLayers: Int {
    guard request.knobs.contains(.depth), let structure else { return 0 }
    let all = DepthOrder.layerCount(structure.description)
    return all > 1 ? request.knobs == [.depth] ? all - 1 : max(1, all / 4) : 0
  }

  /// - Throws: `sensitivity.format` for a file that is no table, or whose rows or layers are not those of the model and
  ///   the forms; `sensitivity.mismatch` for one that was measured otherwise.
  private func keptTable() throws(Problem) -> FitTable? {
    guard let path = request.table else { return nil }
    let table = try FitTable(at: path)
    try table.require(try measuredFingerprint(), file: path)
    guard table.curves.areOf(reductions.gathering.blocks.flatMap(\.targets), in: forms), areLayers(table.steps) else {
      throw Problem(
        .sensitivityFormat, "the table of the fit is damaged: it has other parameters, forms or layers than the model",
        remedy: "Measure it again: leave --table out.", file: path)
    }
    return table
  }

  /// Whether steps name layers of the model, each once, and leave one.
  func areLayers(_ steps: [DepthOrder.Step]) -> Bool {
    // Without text no layer leaves, whatever a table says of layers.
    guard let structure else { return true }
    let all = DepthOrder.layerCount(structure.description)
    return steps.count < all && Set(steps.map(\.layer)).count == steps.count
      && steps.allSatisfy { (0..<all).contains($0.layer) && $0.divergence.isFinite }
  }

  private static func widths(of network: Network) throws(Problem) -> Set<Int> {
    var widths: Set<Int> = []
    for index in try network.blocks().indices {
      for matrix in try network.matrices(ofBlock: index) where matrix.layer != nil || matrix.part == .headProjection {
        widths.insert(matrix.inputs)
      }
    }
    return widths
  }

  /// Everything that what is measured depends on.
  func measuredFingerprint() throws(Problem) -> JSON {
    var fingerprint = try ReductionRun.fingerprint(reductions.gathering)
    fingerprint["forms"] = .array(forms.flatMap { form in form.levels.map { .string(form.text($0)) } })
    if let structure { fingerprint["effects"] = try structure.fingerprint() }
    return fingerprint
  }

  /// Everything that what is made depends on.
  func fingerprint() throws(Problem) -> JSON {
    var fingerprint = try measuredFingerprint()
    fingerprint["size"] = .number(request.bytes)
    fingerprint["knobs"] = .string(request.knobs.map(\.rawValue).sorted().joined(separator: " "))
    if let text = request.text { fingerprint["text"] = .string(text.digest) }
    if let path = request.table {
      fingerprint["table"] = .string(try FileSystem.read(path).withUnsafeBytes { Digest(of: $0) }.description)
    }
    return fingerprint
  }

  // MARK: - What will be done

  /// One line before the work.
  public var summary: String {
    let knobs = FitKnob.allCases.filter { request.knobs.contains($0) }.map(\.rawValue).joined(separator: ", ")
    return "\(ByteCount.text(bytesBefore)) to \(ByteCount.text(request.bytes)) by \(knobs); "
      + "\(ReductionReport.matrices(matrixCount))"
  }

  public var json: JSON {
    [
      "event": "plan", "output": .string(options.output), "bytes_before": .number(bytesBefore),
      "bytes_wanted": .number(request.bytes), "matrices": .number(matrixCount),
      "knobs": .array(FitKnob.allCases.filter { request.knobs.contains($0) }.map { .string($0.rawValue) }),
      "forms": .array(forms.flatMap { form in form.levels.map { .string(form.text($0)) } }),
    ]
  }

  /// The plan for a person.
  public var text: String {
    ([summary, "forms that are measured of every matrix:"]
      + forms.map { form in "  " + form.levels.map { form.text($0) }.joined(separator: "; ") }
      + (request.knobs.contains(.depth) && structure != nil
        ? ["and layers leave, those without which predictions move least"] : []))
      .joined(separator: "\n")
  }
}

extension MergePlan {
  /// Bytes of all tensors, without headers.
  var tensorBytes: Int { layout.tensors.reduce(0) { $0 + $1.byteCount } }
}
