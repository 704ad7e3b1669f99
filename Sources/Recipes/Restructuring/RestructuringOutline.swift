public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps

extension RestructuringPlan {
  /// One line before the work.
  public var summary: String {
    "\(request.text): \(parametersBefore) parameters, at most \(parametersWanted) stay"
  }

  /// The plan for a program.
  public var json: JSON {
    [
      "request": .string(request.text), "parameters_before": .number(parametersBefore),
      "parameters_wanted": .number(parametersWanted),
    ]
  }

  /// Everything that the result depends on, from the identity of files.
  func fingerprint() throws(Problem) -> JSON {
    var members: [(String, JSON)] = [
      ("version", .string(MergeRun.version)), ("request", .string(request.text)), ("mode", .string(run.mode.rawValue)),
      ("config", .string(Digest(of: checkpoint.config?.text() ?? "").description)),
    ]
    var files = checkpoint.weightFiles + (request.base?.checkpoint.weightFiles ?? [])
    switch request.source {
    case .nothing: break
    case .statistics(let path): files.append(path)
    case .text(let text):
      members.append(("texts", .array(text.documents.map { .string($0.digest.description) })))
      members.append(("tokens", .string(text.digest)))
    }
    for path in files {
      let identity = try WeightFile.identity(path)
      members.append(
        ("input \(path)", ["size": .number(identity.size), "modified": .number(identity.modifiedNanoseconds)]))
    }
    return .object(members)
  }
}
