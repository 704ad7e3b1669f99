internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierRestructuring
internal import EspalierTokenizers

/// Whether two models read a text as the same tokens.
enum SharedTokens {
  /// - Throws: `restructuring` if they do not; what reading the tokenizers throws.
  static func check(
    _ first: any Checkpoint, _ second: any Checkpoint, on text: CalibrationText
  ) throws(Problem) {
    let tokenizer = try ModelTokenizer(of: first).tokenizer
    var samples: [String] = []
    for sequence in text.windows.sequences { samples.append(try tokenizer.decode(sequence)) }
    try check(first, second, on: samples)
  }

  /// - Parameter samples: the whole text, since tokenizers may differ in a rare token alone.
  static func check(_ first: any Checkpoint, _ second: any Checkpoint, on samples: [String]) throws(Problem) {
    if let one = file(of: first), let other = file(of: second), one == other { return }
    let tokenizers = (try ModelTokenizer(of: first).tokenizer, try ModelTokenizer(of: second).tokenizer)
    for sample in samples where try tokenizers.0.ids(sample) != tokenizers.1.ids(sample) {
      throw Problem(
        .restructuring, "the models cut the text into other tokens, so that what they make of it cannot be compared",
        remedy: "Use models with one tokenizer.", file: second.location)
    }
  }

  /// Whether a number means another token in the two; false where one of them has no tokenizer.
  static func vocabulariesDiffer(_ first: any Checkpoint, _ second: any Checkpoint) -> Bool {
    if let one = file(of: first), let other = file(of: second), one == other { return false }
    func vocabulary(_ checkpoint: any Checkpoint) -> Vocabulary? {
      guard let files = try? TokenizerPlanner.files(of: checkpoint), !files.isEmpty else { return nil }
      return try? Vocabulary(files)
    }
    guard let one = vocabulary(first), let other = vocabulary(second) else { return false }
    return !one.agrees(with: other)
  }

  /// `tokenizer.json`, which is the whole tokenizer.
  private static func file(of checkpoint: any Checkpoint) -> [UInt8]? {
    guard let folder = checkpoint.folder else { return nil }
    return try? FileSystem.read("\(folder)/tokenizer.json", limit: 512 << 20)
  }
}
