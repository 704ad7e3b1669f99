public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
public import EspalierNumerics

/// A model written as a safetensors folder, whatever it was stored in: the verb `convert`.
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
  /// - Throws: every problem that can be known now, all at once.
  public static func plan(
    of model: String, elementType: ElementType?, options: MergeOptions
  ) throws(Problems) -> MergePlan {
    let reference = ModelReference(parsing: model, line: 0)
    let recipe = Recipe(
      method: Passthrough.card.name, methodLine: 0,
      body: .models([.init(model: reference, parameters: .none, layers: nil, line: 0)]), parameters: .none,
      outputType: elementType, line: 0)
    let text = "convert \(reference.key) to \(elementType?.rawValue ?? "its own types")\n"
    do throws(Problems) {
      var plan = try MergePlan.prepare(recipe, text: text, file: "", options: options)
      plan.verb = .convert
      plan.warnings = plan.warnings.map(withoutRecipe)
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
