internal import EspalierBasics

/// What a file lost before it was packed: its numbers were rounded, and it is the rounded ones that come back.
public struct ArchiveLoss: Sendable, Hashable {
  /// A part whose numbers were rounded.
  public struct Part: Sendable, Hashable {
    /// Its index in the header.
    public var part: Int
    /// ‖W - W'‖_F / ‖W‖_F.
    public var weightError: Double
    /// ‖(W - W') X‖_F / ‖W X‖_F over calibration rows; nil if they were not known.
    public var outputError: Double?

    public init(part: Int, weightError: Double, outputError: Double?) {
      (self.part, self.weightError, self.outputError) = (part, weightError, outputError)
    }
  }

  /// Ascending.
  public var parts: [Part]

  public init(parts: [Part]) { self.parts = parts }

  /// `[[part, weight error], [part, weight error, output error], ..]`.
  var json: JSON {
    .array(
      parts.map { part in
        .array([.number(part.part)] + [part.weightError, part.outputError].compactMap { $0.map { .number($0) } })
      })
  }

  /// Nil for what no writer makes.
  init?(_ json: JSON, parts count: Int) {
    parts = []
    guard let entries = json.array else { return nil }
    for entry in entries {
      guard let numbers = entry.array, (2...3).contains(numbers.count), let part = numbers[0].integer,
        (0..<count).contains(part), part > parts.last?.part ?? -1,
        let weightError = numbers[1].number, weightError >= 0
      else { return nil }
      var outputError: Double?
      if numbers.count == 3 {
        guard let error = numbers[2].number, error >= 0 else { return nil }
        outputError = error
      }
      parts.append(Part(part: part, weightError: weightError, outputError: outputError))
    }
  }
}
