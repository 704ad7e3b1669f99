public import EspalierBasics
public import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierEvaluation
public import EspalierLinearMaps
internal import EspalierNetworks

/// Text files as windows of tokens that a model is calibrated on.
public struct CalibrationText: Sendable {
  public let windows: TokenWindows
  public let documents: [StatisticsRecord.Text]
  /// The texts whole.
  let sets: [TextSet]
  private let tokenizer: Digest?

  /// Windows that are taken where nobody says how many.
  public static let standardCount = 128

  /// - Parameters:
  ///   - paths: plain text, or JSON lines `{"text"}`.
  ///   - sequences: windows; nil for ``standardCount``, or as many as there are if those are fewer.
  ///   - length: tokens of a window; nil for 2048, or the model's context if that is shorter.
  ///   - seed: draws the windows; nil takes the first ones.
  /// - Throws: what is wrong with the files, all at once; `calibration.text` if there is too little text.
  public init(
    _ paths: [String], for checkpoint: any Checkpoint, sequences: Int?, length: Int?, seed: UInt64?
  ) throws(Problems) {
    var problems = Problems()
    var texts: [TokenWindows.Text] = []
    var sets: [TextSet] = []
    var documents: [StatisticsRecord.Text] = []
    for path in paths {
      do throws(Problems) {
        let set = try TextSet.reading(path)
        sets.append(set)
        texts += set.documents.map { TokenWindows.Text(name: path, text: $0.text) }
        if let digest = problems.collect({ () throws(Problem) in try Self.digest(of: path) }) {
          documents.append(StatisticsRecord.Text(name: set.name, digest: digest))
        }
      } catch { problems.all += error.all }
    }
    guard problems.all.isEmpty else { throw problems }
    (self.documents, self.sets) = (documents, sets)
    do throws(Problem) {
      windows = try TokenWindows(
        texts, tokenizer: try ModelTokenizer(of: checkpoint).tokenizer, count: sequences, limit: Self.standardCount,
        length: length ?? min(2048, checkpoint.contextLength ?? 2048), choice: seed.map { .drawn(seed: $0) } ?? .first)
      tokenizer = try Self.tokenizerDigest(checkpoint)
    } catch { throw Problems([error]) }
  }

  /// Tokens that need no tokenizer.
  ///
  /// - Parameter cut: where they are from, in words.
  public init(tokens: [[Int32]], cut: String) {
    windows = TokenWindows(tokens: tokens, cut: cut)
    (documents, sets) = ([], [])
    tokenizer = nil
  }

  /// A digest of the tokens and where they are cut.
  var digest: String { TokenWindows.digest(of: windows.sequences).description }

  /// What statistics that are gathered on the text say of themselves, but for the model's identity.
  public func record(mode: NumericMode, momentLimit: Int) -> StatisticsRecord {
    StatisticsRecord(
      model: nil, tokenizer: tokenizer, texts: documents, tokens: TokenWindows.digest(of: windows.sequences),
      cut: windows.cut, mode: mode.rawValue, momentLimit: momentLimit)
  }

  private static func digest(of path: String) throws(Problem) -> Digest {
    try FileSystem.read(path).withUnsafeBytes { Digest(of: $0) }
  }

  private static func tokenizerDigest(_ checkpoint: any Checkpoint) throws(Problem) -> Digest? {
    if let bytes = checkpoint.embeddedFiles["tokenizer.json"] { return bytes.withUnsafeBytes { Digest(of: $0) } }
    guard let folder = checkpoint.folder, FileSystem.isFile("\(folder)/tokenizer.json") else { return nil }
    return try digest(of: "\(folder)/tokenizer.json")
  }
}
