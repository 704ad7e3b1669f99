internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension Problem.Code {
  /// A tensor or a site that a command names and that is not there, or is not of the kind that it must be.
  public static let usageTensor = Problem.Code("usage.tensor")
}

/// A part of a file as commands name it: `FILE:NAME`, or `FILE` where it has one.
public struct FilePart: Sendable, Hashable {
  public let file: String
  public let name: String?

  /// What stands after the last colon is the name, unless the whole text is a file or folder.
  public init(_ text: String) {
    guard FileSystem.kind(text) == nil, let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else {
      (file, name) = (text, nil)
      return
    }
    file = String(text[..<colon])
    let rest = String(text[text.utf8.index(after: colon)...])
    name = rest.isEmpty ? nil : rest
  }

  /// What `name` stands for among `names`: the one of that name, or the only one there is.
  ///
  /// - Parameter kind: what they are, for messages.
  func choice(among names: [String], kind: String) throws(Problem) -> Int {
    if let name {
      if let index = names.firstIndex(where: { ExactString($0) == ExactString(name) }) { return index }
      let near = Spelling.nearest(to: name, among: names)
      throw Problem(
        .usageTensor, "the file has no \(kind) `\(name)`",
        remedy: near.map { "Did you mean \($0)?" } ?? Self.listed(names), file: file)
    }
    guard names.count == 1 else {
      throw Problem(
        .usageTensor, "the file has \(names.count) \(kind)s; say which: \(file):NAME", remedy: Self.listed(names),
        file: file)
    }
    return 0
  }

  private static func listed(_ names: [String]) -> String {
    let shown = names.prefix(8).joined(separator: ", ")
    return "It has: \(shown)\(names.count > 8 ? " and \(names.count - 8) more" : "")."
  }
}

/// A tensor that a trial reads.
struct TrialTensor: Sendable {
  let file: String
  let parameter: Parameter

  /// - Parameter families: the descriptions by which a GGUF file is understood. In one that none fits, and under names
  ///   that the family does not have, tensors are what is stored.
  /// - Throws: what opening throws; `usage.tensor` if there is no such tensor of floats.
  init(_ part: FilePart, families: [Architecture]) throws(Problems) {
    do throws(Problems) {
      try self.init(part, of: try Architecture.openCheckpoint(at: part.file, families: families))
    } catch {
      guard GGUFFiles.isModel(part.file),
        error.all.allSatisfy({ $0.code == .architectureConfig || $0.code == .usageTensor }),
        let stored = try? GGUFCheckpoint(unmappedAt: part.file)
      else { throw error }
      do throws(Problems) { try self.init(part, of: stored) } catch let second { throw Self.better(error, second) }
    }
  }

  /// Where neither reading of a GGUF file has the tensor, the family's names are the ones to tell.
  private static func better(_ mapped: Problems, _ stored: Problems) -> Problems {
    mapped.all.contains { $0.code == .usageTensor } ? mapped : stored
  }

  private init(_ part: FilePart, of checkpoint: any Checkpoint) throws(Problems) {
    do throws(Problem) {
      let index = try part.choice(among: checkpoint.parameters.map(\.name), kind: "tensor")
      let parameter = checkpoint.parameters[index]
      guard parameter.elementType.isFloat else {
        throw Problem(
          .usageTensor, "the tensor is of type \(parameter.elementType.safetensorsName); floats were expected",
          file: part.file, tensor: parameter.name)
      }
      (file, self.parameter) = (part.file, parameter)
    } catch { throw Problems([error]) }
  }

  /// Bytes as they lie in the file.
  var storedBytes: Int { parameter.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } }

  /// Calls `body` with some consecutive rows at a time: the last dimension, all others being rows.
  func forEachRows(
    _ body: (_ first: Int, UnsafeBufferPointer<Float>) throws(Problem) -> Void
  ) throws(Problem) {
    let width = max(1, parameter.rowLength)
    let count = parameter.elementCount
    let rows = max(1, Self.pieceLength / width)
    do throws(Problem) {
      let reader = try parameter.recipe.reader(files: FilePool())
      let floats = UnsafeMutablePointer<Float>.allocate(capacity: rows * width)
      defer { floats.deallocate() }
      let scratch = UnsafeMutableRawPointer.allocate(
        byteCount: max(64, reader.scratchBytes(for: rows * width)), alignment: 64)
      defer { scratch.deallocate() }
      for start in stride(from: 0, to: count, by: rows * width) {
        let range = start..<min(count, start + rows * width)
        try reader.read(range, into: floats, scratch: scratch)
        try body(start / width, UnsafeBufferPointer(start: floats, count: range.count))
      }
    } catch { throw error.at(file: file, tensor: parameter.name) }
  }

  /// Elements that are read at a time.
  static let pieceLength = 1 << 20

  /// The tensor as a matrix: two dimensions.
  ///
  /// - Parameter transposed: whether it is stored `[inputs, outputs]`.
  /// - Throws: what reading throws; `linear-algebra.non-finite`.
  func matrix(transposed: Bool) throws(Problem) -> Matrix<Float> {
    var elements: [Float] = []
    elements.reserveCapacity(parameter.elementCount)
    let columns = max(1, parameter.rowLength)
    try forEachRows { (first, rows) throws(Problem) in
      if let index = rows.firstIndex(where: { !$0.isFinite }) {
        throw Problem(
          .nonFiniteMatrix, "the weight is \(rows[index]) at row \(first + index / columns), column \(index % columns)")
      }
      elements.append(contentsOf: rows)
    }
    let matrix = try Matrix(rows: parameter.shape[0], columns: parameter.shape[1], elements: elements)
    return transposed ? matrix.transposed : matrix
  }
}
