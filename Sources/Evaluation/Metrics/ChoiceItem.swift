public import EspalierBasics

/// A question with choices of which one is right.
public struct ChoiceItem: JSONLineItem, Sendable, Hashable {
  public var context: String
  public var choices: [String]
  /// Index of the right choice.
  public var answer: Int

  public init(context: String, choices: [String], answer: Int) {
    self.context = context
    self.choices = choices
    self.answer = answer
  }

  /// Reads one item as data sets spell it:
  ///
  ///  * the context: `context`, `query`, `question`, `ctx` or `prompt`, a string, taken as it is (no template is put
  ///    around it); the first of these keys that is there counts;
  ///  * the choices: `choices`, `endings` or `options`, two or more strings, or `{"text": [...], "label": [...]}`;
  ///  * the right one: `answer`, `gold`, `label`, `answerKey` or `target`: its index from 0 as a number, or a string: one
  ///    of the labels, the text of a choice, an index from 0, a letter from `A` on. A string that means two different
  ///    choices is refused.
  ///
  /// - Throws: `evaluation.data`.
  public init(json: JSON) throws(Problem) {
    context = try json.require(["context", "query", "question", "ctx", "prompt"], "a context") { $0.string }
    let listed = try json.require(["choices", "endings", "options"], "a list of choices") { $0 }
    let texts = (listed["text"] ?? listed).array?.compactMap(\.string) ?? []
    guard texts.count >= 2, texts.count == (listed["text"] ?? listed).array?.count else {
      throw Problem(.evaluationData, "the choices are not two or more strings")
    }
    if let empty = texts.firstIndex(where: \.isEmpty) {
      throw Problem(.evaluationData, "choice \(empty) is empty")
    }
    choices = texts
    let labels = listed["label"]?.array?.map { $0.string ?? "" } ?? []
    let given = try json.require(["answer", "gold", "label", "answerKey", "target"], "the answer") { $0 }
    let readings = Self.readings(of: given, choices: texts, labels: labels)
    guard let answer = readings.first, readings.count == 1 else {
      let why = readings.isEmpty ? "is none of the \(texts.count) choices" : "means several choices"
      throw Problem(.evaluationData, "the answer \(given.text()) \(why)", remedy: "Give its index from 0 as a number.")
    }
    self.answer = answer
  }

  /// The indices an answer may mean, each once.
  private static func readings(of answer: JSON, choices: [String], labels: [String]) -> [Int] {
    if let index = answer.integer { return choices.indices.contains(index) ? [index] : [] }
    guard let text = answer.string else { return [] }
    let exact = ExactString(text)
    // Labels say what answers are called: nothing else is tried beside them.
    if let index = labels.firstIndex(where: { ExactString($0) == exact }), choices.indices.contains(index) {
      return [index]
    }
    var readings = choices.indices.filter { ExactString(choices[$0]) == exact }
    if let index = Int(text) { readings.append(index) }
    let letters = Array(text.utf8)
    if letters.count == 1, (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(letters[0]) {
      readings.append(Int(letters[0] - UInt8(ascii: "A")))
    }
    return Array(Set(readings.filter(choices.indices.contains))).sorted()
  }
}
