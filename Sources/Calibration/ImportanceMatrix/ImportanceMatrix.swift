public import EspalierBasics

extension Problem.Code {
  /// An importance matrix that is damaged, or of no known form.
  public static let importanceFormat = Problem.Code("imatrix.format")
}

/// llama.cpp's importance matrix: the mean square of every input column of a weight, over calibration text.
///
/// Two forms of file: GGUF (`general.type` is `imatrix`, tensors `NAME.in_sum2` and `NAME.counts`), and the older binary
/// one, which knows means only and for all experts one number of calls.
public struct ImportanceMatrix: Sendable, Hashable {
  /// Of one weight, or of all experts' weights that are stored as one.
  public struct Entry: Sendable, Hashable {
    /// As in GGUF files: `blk.0.attn_q.weight`.
    public var name: String
    /// Input columns.
    public var width: Int
    /// Rows seen, one number a matrix.
    public var counts: [Double]
    /// Sums of squares, `[counts.count, width]`.
    public var squareSums: [Double]

    public init(name: String, width: Int, counts: [Double], squareSums: [Double]) {
      self.name = name
      self.width = width
      self.counts = counts
      self.squareSums = squareSums
    }
  }

  public var entries: [Entry]
  /// Paths of the texts.
  public var datasets: [String]
  public var chunkCount: Int
  /// Tokens of a chunk; 0 where the form does not say.
  public var chunkSize: Int

  public init(entries: [Entry], datasets: [String], chunkCount: Int, chunkSize: Int) {
    self.entries = entries
    self.datasets = datasets
    self.chunkCount = chunkCount
    self.chunkSize = chunkSize
  }

  /// Reads either form.
  ///
  /// - Throws: `imatrix.format` for what cannot be, and what reading GGUF files throws.
  public init(at path: String) throws(Problems) {
    do throws(Problem) {
      let file = try File.reading(path)
      let isGGUF = try file.read(min(4, file.size()), at: 0).elementsEqual("GGUF".utf8)
      if !isGGUF {
        try self.init(legacy: try FileSystem.read(path))
        try check()
        return
      }
    } catch { throw Problems([error.at(file: path)]) }
    try self.init(gguf: path)
    do throws(Problem) { try check() } catch { throw Problems([error.at(file: path)]) }
  }

  /// Writes the GGUF form, or the older one to a name that does not end in `.gguf`.
  public func write(to path: String) throws(Problem) {
    let isGGUF = path.utf8.suffix(5).elementsEqual(".gguf".utf8)
    try FileSystem.write(isGGUF ? try ggufBytes() : legacyBytes, to: path)
  }

  /// - Throws: `imatrix.format` for sums that no squares have.
  private func check() throws(Problem) {
    for entry in entries {
      guard entry.counts.allSatisfy({ $0.isFinite && $0 >= 0 }), entry.squareSums.allSatisfy({ $0.isFinite && $0 >= 0 })
      else {
        throw Problem(
          .importanceFormat, "a sum of squares or a count is negative, NaN or infinite",
          remedy: "The model overflowed while the file was made; make it again.", tensor: entry.name)
      }
    }
  }
}
