internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
public import EspalierNumerics
internal import EspalierRestructuring
internal import EspalierTokenizers

extension Problem.Code {
  /// There is nothing to do of what was asked for.
  public static let nothingReduced = Problem.Code("conversion.nothing-reduced")
}

/// A model written as a safetensors folder, whatever it was stored in: the verbs `convert` and `materialize`.
///
/// It is the merge of one model with itself. Parameters keep their names; floats are written in the type asked for, or
/// else in the type they have (quantized ones as ``BlockType/unquantizedType``), rounded once from float32; integers stay
/// as they are. What is stored in the type wanted is copied byte for byte.
public enum Conversion {
  /// Types that a conversion writes.
  public static let elementTypes: [ElementType] = [.f32, .f16, .bf16]

  /// Reads headers and config, and plans the conversion; reads no weight and writes nothing.
  ///
  /// - Parameters:
  ///   - model: a path or hub name, perhaps with an adapter: `model+adapter`.
  ///   - elementType: one of ``elementTypes``, or nil to keep types.
  ///   - padding: whether the layers of an uneven model are made alike by zeros (``PaddedCheckpoint``).
  ///   - given: models that were opened already, or will be there, by name.
  /// - Throws: every problem that can be known now, all at once.
  public static func plan(
    of model: String, elementType: ElementType?, options: MergeOptions, padding: Bool = false,
    given: [ExactString: any Checkpoint] = [:]
  ) throws(Problems) -> MergePlan {
    guard padding else {
      return try plan(.convert, of: model, elementType: elementType, options: options, given: given)
    }
    let reference = ModelReference(parsing: model, line: 0)
    let families = try Architecture.families(with: options.architectures)
    let key = ExactString(reference.key)
    let locator = ModelLocator(recipeFolder: ".", models: options.models)
    let base = if let known = given[key] { known } else { try locator.open(reference, families: families) }
    let padded = try PaddedCheckpoint(base, families: families)
    return try plan(
      .convert, of: model, elementType: elementType, options: options, note: ", padded",
      given: given.merging([key: padded]) { $1 })
  }

  /// The same for a model with parameters in reduced forms, which become plain.
  ///
  /// - Parameter allowingPlain: whether a model that has none is written too.
  /// - Throws: `conversion.nothing-reduced` if it has none; as above.
  public static func materialization(
    of model: String, elementType: ElementType?, allowingPlain: Bool, options: MergeOptions
  ) throws(Problems) -> MergePlan {
    let plan = try plan(.materialize, of: model, elementType: elementType, options: options)
    guard allowingPlain || plan.jobs.contains(where: \.readsReducedForms) else {
      throw Problems([
        Problem(
          .nothingReduced, "the model has no parameters in reduced forms: it is plain already",
          remedy: "Use it as it is; --allow-plain writes it all the same, `espalier convert` in another type.",
          file: plan.models.first?.checkpoint.location)
      ])
    }
    return plan
  }

  private static func plan(
    _ verb: MergePlan.Verb, of model: String, elementType: ElementType?, options: MergeOptions, note: String = "",
    given: [ExactString: any Checkpoint] = [:]
  ) throws(Problems) -> MergePlan {
    let reference = ModelReference(parsing: model, line: 0)
    let recipe = Recipe(
      method: Passthrough.card.name, methodLine: 0,
      body: .models([.init(model: reference, parameters: .none, layers: nil, line: 0)]), parameters: .none,
      outputType: elementType, line: 0)
    let text = "\(verb.rawValue) \(reference.key) to \(elementType?.rawValue ?? "its own types")\(note)\n"
    do throws(Problems) {
      var plan = try MergePlan.prepare(recipe, text: text, file: "", options: options, given: given)
      plan.verb = verb
      plan.warnings = plan.warnings.map(withoutRecipe)
      if let warning = warning(ofNoTokenizer: plan) { plan.warnings.append(warning) }
      plan.smallFiles += try companions(of: plan)
      return plan
    } catch { throw Problems(error.all.map(withoutRecipe)) }
  }

  /// Carries a plan out.
  ///
  /// - Throws: the first problem; what was finished stays for `--resume`, and the input is never touched.
  public static func run(_ plan: MergePlan, listener: any ProgressListener) throws(Problem) -> MergeReport {
    MergeReport(try MergeRun.execute(plan, listener: listener))
  }

  /// There is no recipe whose lines could be told.
  private static func withoutRecipe(_ problem: Problem) -> Problem {
    var problem = problem
    if problem.context.recipeLine == 0 { problem.context.recipeLine = nil }
    if problem.context.file == "" { problem.context.file = nil }
    return problem
  }

  /// A GGUF file is a whole model, so a folder written from it without a tokenizer is a surprise.
  private static func warning(ofNoTokenizer plan: MergePlan) -> Problem? {
    guard let checkpoint = plan.models.first?.checkpoint, let file = checkpoint.weightFiles.first,
      checkpoint is GGUFCheckpoint || file.hasSuffix(".gguf"),
      // Where there was one that could not be written, that was said.
      !plan.warnings.contains(where: { $0.code.rawValue.hasPrefix("tokenizer.") }),
      !plan.smallFiles.contains(where: { tokenizers.contains($0.name) })
    else { return nil }
    return Problem(
      .tokenizerMissing, "the GGUF file has no tokenizer, and the output will have none",
      remedy: "Copy tokenizer.json and its companions from the model's folder.", file: file, severity: .warning)
  }

  /// Files that make a tokenizer by themselves.
  private static let tokenizers = ["tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"]

  /// Licences and the model card, which a conversion does not change.
  private static func companions(of plan: MergePlan) throws(Problems) -> [(name: String, bytes: [UInt8])] {
    guard let folder = plan.models.first?.checkpoint.folder else { return [] }
    do throws(Problem) {
      var files: [(name: String, bytes: [UInt8])] = []
      for name in try FileSystem.list(folder) where FileSystem.isFile("\(folder)/\(name)") {
        let upper = name.uppercased()
        guard upper == "README.MD" || ["LICENSE", "LICENCE", "NOTICE"].contains(where: { upper.hasPrefix($0) })
        else { continue }
        files.append((name, try FileSystem.read("\(folder)/\(name)", limit: 16 << 20)))
      }
      return files
    } catch { throw Problems([error]) }
  }
}
