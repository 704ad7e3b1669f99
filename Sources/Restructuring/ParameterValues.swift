public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

extension Parameter {
  /// All values, row-major, in memory.
  ///
  /// - Throws: what reading throws, with the tensor named.
  public func values(files: FilePool) throws(Problem) -> [Float] {
    do throws(Problem) {
      let reader = try recipe.reader(files: files)
      let scratch = try AlignedBuffer(byteCount: max(64, reader.scratchBytes(for: reader.elementCount)))
      var values = [Float](repeating: 0, count: reader.elementCount)
      let result: Result<Void, Problem> = values.withUnsafeMutableBufferPointer { buffer in
        Result { () throws(Problem) in
          guard let start = buffer.baseAddress, reader.elementCount > 0 else { return }
          try reader.read(0..<reader.elementCount, into: start, scratch: scratch.address)
        }
      }
      try result.get()
      return values
    } catch { throw error.at(tensor: name) }
  }
}
