public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierRestructuring
internal import EspalierTokenizers

/// A file of paired prompts as the tokens of a model.
public struct PromptPairs: Sendable {
  let name: String
  let digest: Digest
  let pairs: [PromptPair]

  /// - Throws: the problems of all lines of the file at once; what reading the model's tokenizer throws.
  public init(_ path: String, for checkpoint: any Checkpoint) throws(Problems) {
    let prompts = try PairedPrompt.reading(path)
    name = FileSystem.lastComponent(of: path)
    do throws(Problem) {
      let tokenizer = try ModelTokenizer(of: checkpoint).tokenizer
      pairs = try prompts.map { (prompt) throws(Problem) in
        PromptPair(try tokenizer.ids(prompt.first), try tokenizer.ids(prompt.second))
      }
      digest = try FileSystem.read(path).withUnsafeBytes { Digest(of: $0) }
      if pairs.contains(where: { $0.first.isEmpty || $0.second.isEmpty }) {
        throw Problem(.evaluationData, "a prompt has no token", file: path)
      }
    } catch { throw Problems([error]) }
  }
}
