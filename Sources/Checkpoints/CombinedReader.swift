internal import EspalierBasics

/// A parameter of equal shape with its weight in a sum.
public struct WeightedRecipe: Sendable, Hashable, Codable {
  public var weight: Double
  public var recipe: StorageRecipe

  public init(weight: Double, recipe: StorageRecipe) {
    self.weight = weight
    self.recipe = recipe
  }
}

/// Reads `constant + Σ weight · parameter`, element by element in float64, in the order of the terms, rounded once.
final class CombinedReader: ParameterReader {
  let elementCount: Int
  private let terms: [(weight: Double, reader: any ParameterReader)]
  private let constant: Double

  /// Elements that are summed at once.
  private static let tile = 4096

  init(terms: [WeightedRecipe], constant: Double, elementCount: Int, files: FilePool) throws(Problem) {
    var readers: [(weight: Double, reader: any ParameterReader)] = []
    for term in terms { readers.append((term.weight, try term.recipe.reader(files: files))) }
    (self.terms, self.constant, self.elementCount) = (readers, constant, elementCount)
  }

  var residentBytes: Int { terms.reduce(0) { $0 + $1.reader.residentBytes } }

  func scratchBytes(for count: Int) -> Int {
    Self.scratchBytes { count in terms.map { $0.reader.scratchBytes(for: count) }.max() ?? 0 }
  }

  /// A tile of sums, one of what is added, and what reading it takes.
  static func scratchBytes(terms: (Int) -> Int) -> Int {
    tile * (MemoryLayout<Double>.stride + MemoryLayout<Float>.stride) + terms(tile)
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    let sums = scratch.assumingMemoryBound(to: Double.self)
    let values = (scratch + Self.tile * MemoryLayout<Double>.stride).assumingMemoryBound(to: Float.self)
    let inner = UnsafeMutableRawPointer(values + Self.tile)
    for start in stride(from: range.lowerBound, to: range.upperBound, by: Self.tile) {
      let count = min(Self.tile, range.upperBound - start)
      sums.update(repeating: constant, count: count)
      for term in terms {
        try term.reader.read(start..<start + count, into: values, scratch: inner)
        for index in 0..<count { sums[index] += term.weight * Double(values[index]) }
      }
      let into = destination + (start - range.lowerBound)
      for index in 0..<count { into[index] = Float(sums[index]) }
    }
  }
}
