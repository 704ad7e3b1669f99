internal import EspalierBasics

/// Placeholder until adapters land.
final class UpdatedReader: ParameterReader {
  let elementCount = 0
  let residentBytes = 0
  init(base: any ParameterReader, shape: [Int], update: Update, files: FilePool) throws(Problem) {}
  func scratchBytes(for count: Int) -> Int { 0 }
  static func residentBytes(of update: Update) -> Int { 0 }
  static func scratchBytes(for count: Int, shape: [Int], base: (Int) -> Int) -> Int { 0 }
  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {}
}
