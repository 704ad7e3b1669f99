internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierReduction

/// Writes a model some of whose parameters have been reduced: those take the places of the original ones, all else is
/// carried as a conversion carries it.
enum ReductionAssembly {
  /// A parameter in the place of that of its name, with all tensors that are stored of it.
  struct Replacement {
    let parameter: Parameter
    let tensors: [StoredTensor]
  }

  /// How a model with finished pieces in their places is written.
  ///
  /// - Parameters:
  ///   - keepingForms: whether what an earlier reduction left in another form stays in it.
  ///   - quantizationConfig: what config.json says of packed codes; nil where there are none.
  static func assembled(
    _ plan: ReductionPlan, _ pieces: [ReductionPieces.Piece], keepingForms: Bool, quantizationConfig: JSON?
  ) throws(Problem) -> MergePlan {
    var replacements = pieces.map { Replacement(parameter: $0.parameter, tensors: $0.tensors) }
    if keepingForms {
      let replaced = Set(replacements.map { ExactString($0.parameter.name) })
      replacements += plan.checkpoint.parameters.filter {
        $0.reducedForm != nil && !replaced.contains(ExactString($0.name))
      }.map { Replacement(parameter: $0, tensors: $0.recipe.storedTensors) }
    }
    var conversion = try plan.conversion.replacing(replacements, seed: plan.conversion.options.seed)
    conversion.verb = .reduce
    if let quantizationConfig { try conversion.setQuantization(quantizationConfig) }
    return conversion
  }

  /// - Parameter report: gets what writing took, and is written beside the weights.
  static func write(
    _ plan: ReductionPlan, _ pieces: [ReductionPieces.Piece], report: inout ReductionReport,
    listener: any ProgressListener
  ) throws(Problem) {
    var conversion = try assembled(
      plan, pieces, keepingForms: plan.request.storage == .reduced, quantizationConfig: plan.quantizationConfig)
    report.modelBytesAfter = conversion.tensorBytes
    conversion.text = plan.request.text
    conversion.reports = [
      ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
      ("REPORT.md", Array(report.markdown.utf8)),
    ]
    if let table = plan.request.table {
      conversion.reports.append(("sensitivity.json", table.json.bytes(pretty: true) + [UInt8(ascii: "\n")]))
    }
    report.written = try MergeRun.execute(conversion, listener: listener)
  }
}

extension MergePlan {
  /// Has config.json say how weights are quantized.
  mutating func setQuantization(_ section: JSON) throws(Problem) {
    guard let index = smallFiles.firstIndex(where: { $0.name == "config.json" }) else {
      throw Problem(.checkpointConfig, "the model has no config.json that could say how it is quantized")
    }
    var config = try JSON(parsing: smallFiles[index].bytes, acceptingInfinity: true)
    config["quantization_config"] = section
    smallFiles[index].bytes = config.bytes(pretty: true) + [UInt8(ascii: "\n")]
  }

  /// The plan with other parameters in the place of those of their names, each copied as it is stored.
  func replacing(_ replacements: [ReductionAssembly.Replacement], seed: UInt64) throws(Problem) -> MergePlan {
    let replaced = Dictionary(
      replacements.map { (ExactString($0.parameter.name), $0) }, uniquingKeysWith: { _, last in last })
    var drafts: [MergePlanner.Draft] = []
    for job in jobs {
      let output = layout.tensors[job.outputIndex]
      guard let replacement = job.inputs.first.flatMap({ replaced[ExactString($0.parameter.name)] }) else {
        let request = OutputLayout.Request(name: output.name, elementType: output.elementType, shape: output.shape)
        drafts.append(.init(request: request, inputs: job.inputs, operation: job.operation))
        continue
      }
      let reduced = replacement.parameter.reducedForm.map {
        OutputLayout.ReducedParameter(name: $0.name, form: $0.form, shape: $0.shape)
      }
      for tensor in replacement.tensors {
        drafts.append(
          .init(
            request: .init(
              name: tensor.name, elementType: tensor.elementType, shape: tensor.shape, reduced: reduced),
            inputs: [.init(model: job.inputs[0].model, parameter: Parameter(tensor))], operation: .copy))
      }
    }
    var plan = self
    plan.layout = OutputLayout(drafts.map(\.request), shardBytes: options.shardBytes)
    plan.jobs = []
    for (index, draft) in drafts.enumerated() {
      plan.jobs.append(
        try MergeJob(
          outputIndex: index, output: plan.layout.tensors[index], inputs: draft.inputs, operation: draft.operation,
          seed: seed))
    }
    plan.memory = try JobRunner(
      threads: options.threads, memory: options.memory, allowsNonFinite: options.allowsNonFinite,
      listener: SilentListener()
    ).plan(plan.jobs, layout: plan.layout, headerBytes: 4096 * plan.layout.tensors.count)
    return plan
  }
}
