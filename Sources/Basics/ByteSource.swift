/// Bytes that are read by position: a file, or what a packed file stands for. Safe to use from several threads.
public protocol ByteSource: Sendable {
  /// The file that they are read from, for messages.
  var path: String { get }

  /// How many there are.
  func size() throws(Problem) -> Int

  /// Fills `buffer` from `offset`; an error if the bytes end before.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Problem)
}

extension ByteSource {
  public func read(_ count: Int, at offset: Int) throws(Problem) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result: Result<Void, Problem> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(Problem) in try read(into: buffer, at: offset) }
    }
    try result.get()
    return bytes
  }
}
