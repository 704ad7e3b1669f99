internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging

extension MergePlan {
  /// Reads the recipe, the headers and configs of its models, and plans the merge; reads no weight and writes nothing.
  ///
  /// - Parameters:
  ///   - references: models that are results of other documents of the file, by name.
  ///   - given: models that were opened already, or will be there, by name.
  /// - Throws: every problem that can be known now, all at once.
  public static func prepare(
    _ recipe: Recipe, text: String, file: String, options: MergeOptions, references: [String: String] = [:],
    given: [ExactString: any Checkpoint] = [:]
  ) throws(Problems) -> MergePlan {
    var problems = Problems()
    let families = try Architecture.families(with: options.architectures)
    let locator = ModelLocator(recipeFolder: FileSystem.parent(of: file), models: options.models)
    let opened = open(
      recipe, output: options.output, locator: locator, families: families, references: references, given: given,
      problems: &problems)
    guard let method = MergeMethods.named(recipe.method), problems.errors.isEmpty else { throw problems.inFile(file) }

    requireOneFamily(opened, recipe: recipe, problems: &problems)
    let tokenizer = TokenizerPlanner.plan(recipe: recipe, models: opened, problems: &problems)
    var planner = MergePlanner(
      recipe: recipe, models: opened, method: method, vocabulary: tokenizer?.adapter)
    planner.plan()
    problems.all += planner.problems.all
    if !planner.unknownOutputs.isEmpty {
      problems.add(
        Problem(
          .unknownTensors,
          "the family's description does not name \(planner.unknownOutputs.count) tensors "
            + "(\(MergePlanner.listed(planner.unknownOutputs))); they are merged like the others",
          recipeLine: recipe.line, severity: .warning))
    }
    if planner.drafts.isEmpty, problems.errors.isEmpty {
      problems.add(Problem(.mergeInputs, "the models have no tensors to merge", recipeLine: recipe.line))
    }

    let layout = OutputLayout(planner.drafts.map(\.request), shardBytes: options.shardBytes)
    var jobs: [MergeJob] = []
    for (index, draft) in planner.drafts.enumerated() {
      do throws(Problem) {
        jobs.append(
          try MergeJob(
            outputIndex: index, output: layout.tensors[index], inputs: draft.inputs, operation: draft.operation,
            seed: options.seed))
      } catch {
        // What is wrong with a parameter is wrong for many tensors: the first stands for all.
        guard !problems.all.contains(where: { $0.code == error.code && $0.message == error.message }) else { continue }
        problems.add(error.at(tensor: draft.request.name, recipeLine: recipe.methodLine))
      }
    }
    problems.all += OutputFolder.obstacles(at: options.output, policy: options.policy, bytes: layout.byteCount)
    problems.all += opened.flatMap(\.checkpoint.warnings)
    let donor = recipe.base.flatMap { base in opened.firstIndex { $0.reference.key == base.key } } ?? 0
    // A config can be written only for layers that are there.
    let small =
      problems.errors.isEmpty
      ? FolderFiles.files(
        recipe: recipe, models: opened, donor: donor, layout: layout, tokenizer: tokenizer, families: families,
        problems: &problems) : []
    let runner = JobRunner(
      threads: options.threads, memory: options.memory, allowsNonFinite: options.allowsNonFinite,
      listener: SilentListener())
    let memory = problems.collect { () throws(Problem) in
      try runner.plan(
        jobs, layout: layout, headerBytes: headerBytes(opened, layout: layout) + tokenizerBytes(small, of: opened),
        reading: try JobRunner.ReadingMemory(of: opened.flatMap(\.checkpoint.weightFiles)))
    }
    problems.all = problems.all.uniqued()
    guard problems.errors.isEmpty, let memory else { throw problems.inFile(file) }
    return MergePlan(
      recipe: recipe, text: text, options: options,
      models: opened.map {
        Model(reference: $0.reference, checkpoint: $0.checkpoint, family: $0.structure.family)
      },
      layout: layout, jobs: jobs, unknownTensors: planner.unknownOutputs, warnings: problems.inFile(file).warnings,
      smallFiles: small, memory: memory)
  }

  private static func open(
    _ recipe: Recipe, output: String, locator: ModelLocator, families: [Architecture], references: [String: String],
    given: [ExactString: any Checkpoint], problems: inout Problems
  ) -> [MergePlanner.OpenModel] {
    var opened: [MergePlanner.OpenModel] = []
    for reference in recipe.models {
      do throws(Problems) {
        var found = reference
        if let path = references[reference.path] { found.path = path }
        let checkpoint: any Checkpoint
        if let known = given[ExactString(reference.key)] {
          checkpoint = known
        } else {
          problems.all += try OutputOverlap.problems(writing: output, reading: found, locator: locator)
          checkpoint = try locator.open(found, families: families)
        }
        do throws(Problem) {
          opened.append(
            .init(
              reference: reference, checkpoint: checkpoint,
              structure: try ModelStructure(of: checkpoint, families: families)))
        } catch { problems.add(error.at(recipeLine: reference.line)) }
      } catch { problems.all += error.all }
    }
    return opened
  }

  private static func requireOneFamily(
    _ models: [MergePlanner.OpenModel], recipe: Recipe, problems: inout Problems
  ) {
    guard let first = models.first else { return }
    for other in models.dropFirst() where other.structure.family != first.structure.family {
      problems.add(
        Problem(
          .mergeInputs,
          "\(other.reference.key) is of the family \(other.structure.family ?? "unknown"), \(first.reference.key) of \(first.structure.family ?? "unknown")",
          remedy: "Only models of one family have parameters that mean the same.",
          recipeLine: other.reference.line))
    }
    if first.structure.family == nil, first.checkpoint.config != nil {
      let type = first.checkpoint.config?["model_type"]?.string ?? "not named"
      problems.add(
        Problem(
          .unknownFamily, "no description of this family (model_type \(type)); tensors are merged name by name",
          remedy: "Layers are told by the numbers in names. Describe the family with --architecture FILE for more.",
          recipeLine: first.reference.line, severity: .warning))
    }
  }

  /// Rough size of what headers take in memory while the run lasts.
  private static func headerBytes(_ models: [MergePlanner.OpenModel], layout: OutputLayout) -> Int {
    let tensors = models.reduce(2 * layout.tensors.count) { $0 + $1.checkpoint.parameters.count }
    return tensors * 2048
  }

  /// Memory that tokenizers take while a plan is made: each model's is parsed, and the output's is written.
  private static func tokenizerBytes(
    _ files: [(name: String, bytes: [UInt8])], of models: [MergePlanner.OpenModel]
  ) -> Int {
    let written = files.first { $0.name == "tokenizer.json" }?.bytes.count ?? 0
    return (4 + 6 * models.count) * written
  }
}

extension Problem.Code {
  static let unknownFamily = Problem.Code("architecture.unknown")
  static let unknownTensors = Problem.Code("architecture.unknown-tensors")
}

extension Problems {
  /// Problems with a recipe line get the recipe's file.
  func inFile(_ file: String) -> Problems {
    Problems(all.map { $0.context.recipeLine == nil ? $0 : $0.at(file: file) })
  }
}

extension Array where Element: Hashable {
  /// Each element once, in order of first appearance.
  func uniqued() -> [Element] {
    var seen = Set<Element>()
    return filter { seen.insert($0).inserted }
  }
}
