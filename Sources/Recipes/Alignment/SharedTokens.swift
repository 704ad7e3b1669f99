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
    try check(first, second, on: try tokenizer.decode(text.windows.sequences.first ?? []))
  }

  /// - Parameter sample: tokenizers that differ do so soon.
  static func check(_ first: any Checkpoint, _ second: any Checkpoint, on sample: String) throws(Problem) {
    let tokenizers = (try ModelTokenizer(of: first).tokenizer, try ModelTokenizer(of: second).tokenizer)
    guard try tokenizers.0.ids(sample) == tokenizers.1.ids(sample) else {
      throw Problem(
        .restructuring, "the models cut the text into other tokens, so that what they make of it cannot be compared",
        remedy: "Use models with one tokenizer.", file: second.location)
    }
  }
}
