public import EspalierBasics

extension Problem.Code {
  /// What was given to a network does not fit it: a token outside the vocabulary, an empty sequence, a missing input.
  public static let networkInput = Problem.Code("network.input")
  /// A parameter that the program needs is not in the checkpoint, or has another shape than described.
  public static let networkParameter = Problem.Code("network.parameter")
  /// The program asks for an operation or an option of one that does not exist.
  public static let networkProgram = Problem.Code("network.program")
}
