internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// The entry `espalier.reduced` of a safetensors file's `__metadata__`, which says what reduced forms the file has:
///
///     {"version": 1, "parameters": {NAME: {"form": "bitmap", "shape": [4096, 4096]}, ...}}
public enum ReducedSection {
  public static let key = "espalier.reduced"
  static let version = 1

  /// The metadata entry for parameters in these forms; nil if there are none.
  public static func entry(
    for parameters: [(name: String, form: ReducedStorage.Form, shape: [Int])]
  ) -> (key: String, value: String)? {
    guard !parameters.isEmpty else { return nil }
    let members = parameters.map { parameter -> (String, JSON) in
      var entry: [(String, JSON)] = [("form", .string(parameter.form.name))]
      if case .pattern(let keep, let of) = parameter.form { entry += [("keep", .number(keep)), ("of", .number(of))] }
      entry.append(("shape", .array(parameter.shape.map { .number($0) })))
      return (parameter.name, .object(entry))
    }
    let section: JSON = ["version": .number(version), "parameters": .object(members)]
    return (key, section.text())
  }

  /// The parameters of a file: its reduced ones, and its other tensors as they are stored.
  ///
  /// - Throws: `checkpoint.reduced` for a section of another version, an unknown form, tensors that are missing or do not
  ///   fit it, and a parameter that is stored twice.
  static func parameters(of header: SafetensorsHeader) throws(Problem) -> [Parameter] {
    guard let text = header.metadata.first(where: { ExactString($0.key) == ExactString(key) })?.value else {
      return header.tensors.map(Parameter.init)
    }
    let section: JSON
    do throws(Problem) { section = try JSON(parsing: Array(text.utf8)) } catch {
      throw Problem(.checkpointReduced, "the metadata entry \(key) is \(error.message)")
    }
    guard section["version"]?.integer == version else {
      throw Problem(
        .checkpointReduced, "reduced forms of version \(section["version"]?.text() ?? "(none)"); \(version) is known",
        remedy: "A newer Espalier wrote this file.")
    }
    guard let entries = section["parameters"]?.members else {
      throw Problem(.checkpointReduced, "the metadata entry \(key) lists no parameters")
    }
    var tensors: [ExactString: StoredTensor] = [:]
    for tensor in header.tensors { tensors[ExactString(tensor.name)] = tensor }
    var reduced: [Parameter] = []
    for (name, entry) in entries.pairs {
      do throws(Problem) { reduced.append(Parameter(try storage(name, entry, taking: &tensors))) } catch {
        throw error.at(tensor: name)
      }
    }
    for parameter in reduced where tensors[ExactString(parameter.name)] != nil {
      throw Problem(
        .checkpointReduced, "the parameter is stored twice, whole and in a reduced form", tensor: parameter.name)
    }
    return reduced + header.tensors.filter { tensors[ExactString($0.name)] != nil }.map(Parameter.init)
  }

  private static func storage(
    _ name: String, _ entry: JSON, taking tensors: inout [ExactString: StoredTensor]
  ) throws(Problem) -> ReducedStorage {
    let form: ReducedStorage.Form
    switch entry["form"]?.string {
    case "bitmap": form = .bitmap
    case "low_rank": form = .lowRank
    case "cur": form = .cur
    case "split_rows": form = .split(.rows)
    case "split_columns": form = .split(.columns)
    case "pattern":
      guard let keep = entry["keep"]?.integer, let of = entry["of"]?.integer else {
        throw Problem(.checkpointReduced, "the pattern has no whole numbers `keep` and `of`")
      }
      form = .pattern(keep: keep, of: of)
    case let other:
      throw Problem(
        .checkpointReduced, "the form \(other.map { "\"\($0)\"" } ?? "(none)") is not known",
        remedy: "Known: bitmap, pattern, low_rank, cur, split_rows, split_columns.")
    }
    let sizes = entry["shape"]?.array ?? []
    let shape = sizes.compactMap(\.integer)
    guard shape.count == sizes.count else { throw Problem(.checkpointReduced, "the shape is not whole numbers") }
    var parts: [StoredTensor] = []
    for suffix in form.suffixes {
      guard let part = tensors.removeValue(forKey: ExactString("\(name).\(suffix)")) else {
        throw Problem(
          .checkpointReduced, "the tensor `\(name).\(suffix)` of its form \(form.name) is not in the file")
      }
      parts.append(part)
    }
    return try ReducedStorage(name: name, form: form, shape: shape, parts: parts)
  }
}

extension ReducedStorage.Form {
  /// What files call it.
  public var name: String {
    switch self {
    case .bitmap: "bitmap"
    case .pattern: "pattern"
    case .lowRank: "low_rank"
    case .cur: "cur"
    case .split(let axis): "split_\(axis.rawValue)"
    }
  }
}
