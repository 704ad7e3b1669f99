internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps

/// Measures a ``TypeSensitivity``: every tensor in every type, and each by itself in one type before the model.
///
/// All is written into ``FitScratch``, which is open, and where an interrupted measurement is continued.
struct TypeSensitivityRun {
  private let request: QuantizationRequest
  private let model: String
  private let checkpoint: any Checkpoint
  private let families: [Architecture]
  private let options: MergeOptions
  private let types: [BlockType]
  private let listener: any ProgressListener
  private let scratch: FitScratch

  /// Types that tensors are measured in unless others are asked for, from the smallest to the largest.
  static let standardTypes: [BlockType] = [
    .q2_K, .q3_K, .iq4_xs, .iq4_nl, .q4_0, .q4_K, .q4_1, .q5_0, .q5_K, .q5_1, .q6_K, .q8_0,
  ]
  /// The types tensors have when their effects are measured, the first that is measured at all: errors are then as large
  /// as those of the choices that matter.
  private static let probes: [BlockType] = [.q3_K, .q4_K, .q4_0, .iq4_nl, .iq4_xs, .q2_K]

  init(
    _ request: QuantizationRequest, of model: String, checkpoint: any Checkpoint, families: [Architecture],
    options: MergeOptions, types: [BlockType], listener: any ProgressListener
  ) {
    (self.request, self.model, self.checkpoint, self.families) = (request, model, checkpoint, families)
    (self.options, self.types, self.listener) = (options, types, listener)
    scratch = FitScratch(beside: options.output)
  }

  /// - Throws: every problem of the plans; what quantizing and running the model throws.
  func measure(_ probe: DivergenceProbe, record: JSON) throws(Problems) -> TypeSensitivity {
    guard let probeType = Self.probes.first(where: { types.contains($0) }) ?? types.first else {
      throw Problems([Problem(.quantizationFit, "there are no types to choose from")])
    }
    var reports: [QuantizationReport] = []
    for type in types where type != probeType {
      let (plan, report) = try quantized(type)
      reports.append(report)
      do throws(Problem) { try Self.remove(plan) } catch { throw Problems([error]) }
    }
    let (plan, report) = try quantized(probeType)
    reports.append(report)
    do throws(Problem) { return try table(plan, reports, probe, record: record) } catch { throw Problems([error]) }
  }

  // MARK: - Types

  /// A plan of the whole model, written beside the output.
  func plan(_ request: QuantizationRequest, as name: String) throws(Problems) -> QuantizationPlan {
    var options = options
    options.output = "\(scratch.folder)/\(name).gguf"
    options.policy = .init(resume: true, force: true)
    options.shardBytes = .max
    return try QuantizationPlan(
      request, of: model, checkpoint: checkpoint, families: families, options: options)
  }

  /// The model with every tensor in a type.
  private func quantized(
    _ type: BlockType
  ) throws(Problems) -> (plan: QuantizationPlan, report: QuantizationReport) {
    guard let mix = QuantizationMix.nearest(to: .blocks(type)) else {
      throw Problems([
        Problem(.quantizationFit, "\(type.rawValue.uppercased()) is no type that a mix is made of")
      ])
    }
    var request = request
    request.mix = mix
    request.isPure = true
    let plan = try plan(request, as: mix.name)
    listener.receive(.note("every tensor as \(mix.base.name)"))
    do throws(Problem) { return (plan, try QuantizationRun.execute(plan, listener: listener)) } catch {
      throw Problems([error])
    }
  }

  private static func remove(_ plan: QuantizationPlan) throws(Problem) {
    try FileSystem.remove(plan.output)
    try FileSystem.remove(QuantizationPlan.reportPath(of: plan.output))
  }

  // MARK: - The table

  private func table(
    _ plan: QuantizationPlan, _ reports: [QuantizationReport], _ probe: DivergenceProbe, record: JSON
  ) throws(Problem) -> TypeSensitivity {
    let quantized: any Checkpoint
    do throws(Problems) {
      quantized = try Architecture.openCheckpoint(at: plan.output, families: families)
    } catch { throw error.all.first ?? Problem(.quantizationFit, "the model cannot be opened", file: plan.output) }
    let parameters = quantized.parametersByName()
    var effects = try KnownEffects(at: "\(scratch.folder)/effects.jsonl", record: record)
    let began = Machine.monotonicSeconds
    let free = plan.tensors.indices.filter { index in
      plan.tensors[index].isBlocks && !request.rules.contains { $0.matches(plan.tensors[index].name) }
    }
    listener.receive(
      .began(stage: "effects", totalBytes: free.reduce(0) { $0 + plan.tensors[$1].storedBytes }))
    var rows: [TypeSensitivity.Row] = []
    for index in free {
      let tensor = plan.tensors[index]
      let replaced = tensor.sources.compactMap { parameters[ExactString($0)] }
      guard replaced.count == tensor.sources.count, !replaced.isEmpty else {
        throw Problem(
          .quantizationFit,
          "the model's parameters in this tensor are not known, so that its effect cannot be measured",
          remedy: "Quantize it with --type.", tensor: tensor.name)
      }
      let divergence = try effects.divergence(of: tensor.name) { () throws(Problem) in
        try probe.divergence(of: OverlaidCheckpoint(checkpoint, replacing: replaced), named: tensor.name)
      }
      let choices = choices(reports, index, of: tensor, in: plan)
      let error = choices.first { $0.format == tensor.choice.format }?.error ?? 0
      rows.append(
        .init(
          name: tensor.name, numbers: tensor.shape.reduce(1, *), choices: choices,
          effect: .init(format: tensor.choice.format, error: error, loss: divergence)))
      listener.receive(.advanced(bytes: tensor.storedBytes))
    }
    listener.receive(.ended(stage: "effects", seconds: Machine.monotonicSeconds - began))
    let bytes = free.reduce(0) { $0 + plan.padded(plan.tensors[$1].byteCount) }
    return TypeSensitivity(
      rows: rows, otherBytes: plan.byteCount - bytes,
      otherNumbers: plan.numberCount - rows.reduce(0) { $0 + $1.numbers }, record: record)
  }

  /// The types a tensor was written in, and unquantized, from the smallest to the largest.
  private func choices(
    _ reports: [QuantizationReport], _ index: Int, of tensor: QuantizationPlan.Tensor, in plan: QuantizationPlan
  ) -> [TypeSensitivity.Choice] {
    var choices: [TypeSensitivity.Choice] = []
    for report in reports {
      let found = report.tensors[index]
      guard let format = WeightFormat.gguf(named: found.to), let error = found.weighedError,
        !choices.contains(where: { $0.format == format })
      else { continue }
      choices.append(.init(format: format, bytes: plan.padded(found.bytesAfter), error: error))
    }
    let numbers = tensor.shape.reduce(1, *)
    choices.append(
      .init(format: tensor.plain, bytes: plan.padded(tensor.plain.byteCount(of: numbers)), error: 0))
    return choices.sorted { ($0.bytes, $0.error) < ($1.bytes, $1.error) }
  }
}
