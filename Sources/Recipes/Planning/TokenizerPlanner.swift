internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging
internal import EspalierTokenizers

/// The output's tokenizer, and what it means for parameters indexed by tokens.
struct PlannedTokenizer {
  /// Files to write, by name.
  var files: TokenizerFiles
  /// Rows of embeddings, if the recipe rearranged them.
  var vocabularySize: Int?
  /// Ids of special tokens for config.json, if the vocabulary was rearranged.
  var specialTokenIDs: [SpecialTokenRole: Int]
  var adapter: VocabularyAdapter?
}

/// Lays the rows of token-indexed parameters out anew.
struct VocabularyAdapter {
  let rows: Int
  /// One plan a model; nil for a model whose embeddings take no part.
  let plans: [RowPlan?]

  /// The parameter of `model` in the output's vocabulary.
  ///
  /// - Parameters:
  ///   - dimension: the dimension that tokens index; only the first can be rearranged.
  ///   - peers: the same parameter of every model, by index, to take rows from.
  /// - Throws: ``Problem/Code/mergeInputs`` if rows of another length would be taken.
  func adapt(
    _ parameter: Parameter, dimension: Int, model: Int, peers: [Int: Parameter]
  ) throws(Problem) -> Parameter {
    guard dimension == 0, plans.indices.contains(model), let plan = plans[model],
      !plan.isIdentity(model: model, embeddingRows: parameter.shape.first ?? 0)
    else { return parameter }
    let wanted = plan.sources
    let sources = peers.keys.filter { wanted.contains($0) }.sorted()
    for shape in sources.compactMap({ peers[$0]?.shape }) where shape.dropFirst() != parameter.shape.dropFirst() {
      throw Problem(
        .mergeInputs, "rows of tokens are to be taken from a tensor of shape \(shape) for one of \(parameter.shape)",
        remedy: "Only models of one width can lend each other tokens.")
    }
    let place = Dictionary(uniqueKeysWithValues: sources.enumerated().map { ($0.element, $0.offset) })
    var adapted = parameter
    adapted.shape[0] = rows
    adapted.recipe = .gathered(
      plan.runs.map { Self.run($0, place: place) }, sources: sources.compactMap { peers[$0]?.recipe },
      shape: adapted.shape)
    return adapted
  }

  private static func run(_ run: RowPlan.Run, place: [Int: Int]) -> RowRun {
    switch run.source {
    case .rows(let model, let first):
      // A model that lacks the parameter gives zeros, as a token without any source.
      place[model].map { .rows(source: $0, first: first, count: run.output.count) } ?? .zeros(count: run.output.count)
    case .mean(let rows):
      .mean(rows.compactMap { row in place[row.model].map { RowReference(source: $0, row: row.row) } })
    case .zero: .zeros(count: run.output.count)
    case .average: .averages(count: run.output.count)
    }
  }
}

extension RowPlan {
  /// Indices of the models that rows come from.
  fileprivate var sources: Set<Int> {
    var sources: Set<Int> = []
    for run in runs {
      switch run.source {
      case .rows(let model, _): sources.insert(model)
      case .mean(let rows): sources.formUnion(rows.map(\.model))
      case .zero, .average: break
      }
    }
    return sources
  }
}

enum TokenizerPlanner {
  /// The tokenizer of the output; nil if no model has one and the recipe does not ask for one.
  static func plan(
    recipe: Recipe, models: [MergePlanner.OpenModel], problems: inout Problems
  ) -> PlannedTokenizer? {
    let donor = models.isEmpty ? 0 : base(of: recipe, among: models) ?? 0
    let tokenized = models.enumerated().map { index, model in
      tokenizedModel(model, isDonor: index == donor, problems: &problems)
    }
    guard problems.errors.isEmpty else { return nil }
    let base = base(of: recipe, among: models)
    var planned: PlannedTokenizer?
    let candidates = tokenized.compactMap { $0 }
    if let setting = recipe.tokenizer, candidates.count == models.count {
      do throws(Problems) {
        let plan = try VocabularyPlan(models: candidates, base: base, options: options(setting))
        problems.all += plan.warnings.map { $0.at(recipeLine: setting.line) }
        planned = PlannedTokenizer(
          files: plan.files, vocabularySize: plan.rows, specialTokenIDs: plan.specialTokenIDs,
          adapter: VocabularyAdapter(rows: plan.rows, plans: plan.rowPlans))
      } catch {
        problems.all += error.all.map { $0.at(recipeLine: setting.line) }
        return nil
      }
    } else {
      problems.all += tokenizerConflicts(among: candidates, keeping: donor, realigned: false)
      planned =
        candidates.indices.contains(donor)
        ? PlannedTokenizer(files: candidates[donor].files, vocabularySize: nil, specialTokenIDs: [:], adapter: nil)
        : nil
    }
    if let wanted = recipe.chatTemplate, var files = planned?.files {
      problems.collect { () throws(Problem) in
        do throws(Problem) {
          let choice = try ChatTemplateChoice(wanted)
          if let template = choice.template(among: candidates.map(\.files)) { files.chatTemplate = template }
        } catch { throw error.at(recipeLine: recipe.line) }
      }
      planned?.files = files
    }
    return planned
  }

  private static func base(of recipe: Recipe, among models: [MergePlanner.OpenModel]) -> Int? {
    recipe.base.flatMap { base in models.firstIndex { $0.reference.key == base.key } }
  }

  /// - Parameter isDonor: whether the output takes its tokenizer from this model, so that what is lost is worth telling.
  private static func tokenizedModel(
    _ model: MergePlanner.OpenModel, isDonor: Bool, problems: inout Problems
  ) -> TokenizedModel? {
    var warnings: [Problem] = []
    defer { problems.all += warnings }
    return problems.collect { () throws(Problem) in
      do throws(Problem) {
        let rows = model.structure.tensors.first { $0.vocabularyDimension == 0 }?.parameter.shape.first
        var files = try files(of: model.checkpoint)
        if files.isEmpty, let written = try ggufFiles(of: model.checkpoint, tellsAll: isDonor, warnings: &warnings) {
          files = written
        }
        return try TokenizedModel(name: model.reference.key, files: files, embeddingRows: rows)
      } catch { throw error.at(file: model.checkpoint.folder) }
    }
  }

  /// The tokenizer files of a GGUF file's own vocabulary, and what lies beside it.
  ///
  /// A vocabulary that cannot be written is no reason not to convert the model: that is a warning.
  private static func ggufFiles(
    of checkpoint: any Checkpoint, tellsAll: Bool, warnings: inout [Problem]
  ) throws(Problem) -> TokenizerFiles? {
    guard let gguf = checkpoint as? GGUFCheckpoint, gguf.metadata.text("tokenizer.ggml.model") != nil else {
      return nil
    }
    let beside = try files(in: gguf.folder).contents
    let written: TokenizerFiles
    do throws(Problem) {
      let made = try GGUFVocabulary(gguf.metadata).tokenizerFiles()
      if tellsAll { warnings += made.warnings.map { $0.at(file: gguf.weightFiles.first) } }
      written = made.files
    } catch {
      warnings.append(
        Problem(
          .tokenizerNotWritten,
          "the tokenizer inside the GGUF file cannot be written as tokenizer.json, and the output has none: "
            + error.message, remedy: "Copy tokenizer.json and its companions from the model's folder.",
          file: gguf.weightFiles.first, severity: .warning))
      return nil
    }
    return beside.isEmpty ? written : try TokenizerFiles(files: written.contents.merging(beside) { _, own in own })
  }

  /// Files of the folder, and what lies inside the weights of a model without them.
  static func files(of checkpoint: any Checkpoint) throws(Problem) -> TokenizerFiles {
    var contents = try files(in: checkpoint.folder).contents
    contents.merge(checkpoint.embeddedFiles) { own, _ in own }
    return try TokenizerFiles(files: contents)
  }

  private static func files(in folder: String?) throws(Problem) -> TokenizerFiles {
    var contents: [String: [UInt8]] = [:]
    if let folder {
      for name in TokenizerFiles.names where FileSystem.isFile("\(folder)/\(name)") {
        contents[name] = try FileSystem.read("\(folder)/\(name)", limit: 512 << 20)
      }
      let templates = "additional_chat_templates"
      if FileSystem.isFolder("\(folder)/\(templates)") {
        for name in try FileSystem.list("\(folder)/\(templates)") where name.hasSuffix(".jinja") {
          contents["\(templates)/\(name)"] = try FileSystem.read("\(folder)/\(templates)/\(name)", limit: 16 << 20)
        }
      }
    }
    return try TokenizerFiles(files: contents)
  }

  private static func options(_ setting: Recipe.TokenizerSetting) -> TokenizerOptions {
    let source: TokenizerOptions.Source =
      switch setting.origin {
      case .union: .union
      case .base: .base
      case .model(let reference): .model(reference.key)
      }
    let rules = setting.tokens.map { token in
      let row: TokenizerOptions.RowSource? =
        switch token.embedding {
        case nil: nil
        case .zero: .zero
        case .model(let reference): .model(reference.key)
        case .modelToken(let reference, .some(let id), _): .row(model: reference.key, id: id)
        case .modelToken(let reference, nil, let text): .token(model: reference.key, token: ExactString(text ?? ""))
        }
      return TokenizerOptions.Rule(ExactString(token.token), source: row, force: token.force)
    }
    return TokenizerOptions(source: source, rules: rules, padToMultipleOf: setting.padToMultipleOf)
  }
}

extension Problem.Code {
  static let tokenizerNotWritten = Problem.Code("tokenizer.not-written")
}
