public import EspalierBasics
public import EspalierEvaluation

/// What models are measured on.
public struct EvaluationData: Sendable {
  public var texts: [TextSet] = []
  public var choices: [(name: String, items: [ChoiceItem])] = []
  public var answers: [(name: String, items: [AnswerItem])] = []
  /// Texts with their classes, for encoders with a head.
  public var classified: [(name: String, items: [ClassifiedText])] = []
  /// Sentences whose embeddings are compared, for encoders.
  public var sentences: [(name: String, texts: [String])] = []

  public init(sets: [TextSet]) { texts = sets }

  /// Reads files; the problems of all of them are reported at once.
  public init(
    texts: [String] = [], choices: [String] = [], answers: [String] = [], classified: [String] = [],
    sentences: [String] = []
  ) throws(Problems) {
    var problems = Problems()
    func read<T>(_ paths: [String], _ reading: (String) throws(Problems) -> T) -> [(name: String, T)] {
      paths.compactMap { path in
        do throws(Problems) { return (FileSystem.lastComponent(of: path), try reading(path)) } catch {
          for problem in error.all { problems.add(problem) }
          return nil
        }
      }
    }
    self.texts = read(texts) { (path) throws(Problems) in try TextSet.reading(path) }.map(\.1)
    self.choices = read(choices) { (path) throws(Problems) in try ChoiceItem.reading(path) }
    self.answers = read(answers) { (path) throws(Problems) in try AnswerItem.reading(path) }
    self.classified = read(classified) { (path) throws(Problems) in try ClassifiedText.reading(path) }
    self.sentences = read(sentences) { (path) throws(Problems) in try TextSet.lines(of: path) }
    guard problems.all.isEmpty else { throw problems }
  }

  public var needsLanguageModel: Bool { !texts.isEmpty || !choices.isEmpty || !answers.isEmpty }
  public var needsEncoder: Bool { !classified.isEmpty || !sentences.isEmpty }
}
