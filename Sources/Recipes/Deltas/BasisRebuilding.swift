internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

extension ModelBasis {
  /// One of the models of a basis, rebuilt: `basis get`.
  ///
  /// - Parameters:
  ///   - model: its name as it was given, the last component of it, or its number from 1.
  ///   - base: nil for the base by the name the file has.
  /// - Returns: a plan like that of a conversion, which writes the model.
  public static func rebuilding(
    _ model: String, from path: String, base: String?, options: MergeOptions
  ) throws(Problems) -> MergePlan {
    let name: String
    let opened: any Checkpoint
    var changes: [DeltaTensor] = []
    do throws(Problem) {
      let file = try BasisFile(at: path)
      let index = try file.index(of: model, path: path)
      name = base ?? file.baseName
      opened = try open(name, options)
      guard try BaseIdentity.sample(of: opened) == file.base.sample else {
        throw Problem(
          .deltaBase, "the basis was made on another base: \(file.baseName)",
          remedy: "\(opened.location) has other names, shapes or values than that base had.", file: path)
      }
      for tensor in file.tensors { changes.append(try tensor.change(of: index)) }
    } catch { throw Problems([error]) }
    let checkpoint = try DeltaCheckpoint(base: opened, tensors: changes, adapterConfig: nil, path: path)
    let reference = ModelReference(parsing: "\(name)+\(path)", line: 0)
    return try Conversion.plan(
      of: reference.key, elementType: nil, options: options, given: [ExactString(reference.key): checkpoint])
  }

  private static func open(_ name: String, _ options: MergeOptions) throws(Problem) -> any Checkpoint {
    do throws(Problems) {
      return try ModelLocator(recipeFolder: ".", models: options.models).open(
        ModelReference(parsing: name, line: 0), families: try Architecture.families(with: options.architectures))
    } catch { throw error.all.first?.withoutLine ?? Problem(.basisFormat, "the base cannot be opened", file: name) }
  }
}
