internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierReduction

/// Writes a model some of whose parameters have been reduced: those take the places of the original ones, all else is
/// carried as a conversion carries it.
enum ReductionAssembly {
  /// - Parameter report: gets what writing took, and is written beside the weights.
  static func write(
    _ plan: ReductionPlan, _ parameters: [Parameter], report: inout ReductionReport, listener: any ProgressListener
  ) throws(Problem) {
    var parameters = parameters
    if plan.request.storage == .reduced {
      // What an earlier reduction left in another form stays in it.
      let replaced = Set(parameters.map { ExactString($0.name) })
      parameters += plan.checkpoint.parameters.filter {
        $0.reducedForm != nil && !replaced.contains(ExactString($0.name))
      }
    }
    var conversion = try plan.conversion.replacing(parameters, seed: plan.conversion.options.seed)
    report.modelBytesAfter = conversion.layout.tensors.reduce(0) { $0 + $1.byteCount }
    conversion.verb = .reduce
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
  /// The plan with other parameters in the place of those of their names, each copied as it is stored.
  func replacing(_ parameters: [Parameter], seed: UInt64) throws(Problem) -> MergePlan {
    let replaced = Dictionary(parameters.map { (ExactString($0.name), $0) }, uniquingKeysWith: { _, last in last })
    var drafts: [MergePlanner.Draft] = []
    for job in jobs {
      let output = layout.tensors[job.outputIndex]
      guard let parameter = job.inputs.first.flatMap({ replaced[ExactString($0.parameter.name)] }) else {
        let request = OutputLayout.Request(name: output.name, elementType: output.elementType, shape: output.shape)
        drafts.append(.init(request: request, inputs: job.inputs, operation: job.operation))
        continue
      }
      let reduced = parameter.reducedForm.map {
        OutputLayout.ReducedParameter(name: $0.name, form: $0.form, shape: $0.shape)
      }
      for tensor in parameter.recipe.storedTensors {
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
