extension Jinja {
  /// An expression with the place where it begins.
  struct Expression: Sendable {
    indirect enum Form: Sendable {
      case none
      case boolean(Bool)
      /// Decimal digits: Python's integers have no largest.
      case integer(String)
      case float(Double)
      case string(String)
      case name(String)
      case list([Expression])
      case tuple([Expression])
      case dictionary([(key: Expression, value: Expression)])
      /// `object.name`
      case attribute(Expression, String)
      /// `object[key]`
      case item(Expression, Expression)
      case slice(Expression, start: Expression?, stop: Expression?, step: Expression?)
      case call(Expression, Arguments)
      /// `value | name(arguments)`
      case filter(Expression, String, Arguments)
      /// `value is name(arguments)`
      case test(Expression, String, Arguments)
      case negative(Expression)
      case positive(Expression)
      case not(Expression)
      /// Operators of one precedence, from the left. Chains are flat, so that long ones need no stack.
      case arithmetic(Expression, [(operation: Arithmetic, operand: Expression)])
      case concatenation([Expression])
      /// `a < b <= c`: each operand is evaluated once.
      case comparison(Expression, [(operation: Comparison, operand: Expression)])
      case and([Expression])
      case or([Expression])
      case conditional(test: Expression, then: Expression, otherwise: Expression?)
    }

    let form: Form
    let offset: Offset
  }

  enum Arithmetic: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case modulo = "%"
    case power = "**"
  }

  enum Comparison: String, Sendable {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case isNotIn = "not in"
  }

  /// What stands between the parentheses of a call.
  struct Arguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
    /// `*expression`
    var spread: Expression?
    /// `**expression`
    var namedSpread: Expression?
  }

  /// What can be assigned to.
  indirect enum Target: Sendable {
    case name(String)
    /// `namespace.attribute`
    case member(String, String, Offset)
    case tuple([Target], Offset)
  }

  struct Parameter: Sendable {
    let name: String
    let fallback: Expression?
  }

  struct Macro: Sendable {
    let name: String
    let parameters: [Parameter]
    let body: [Statement]
    /// Whether the body mentions `varargs`, `kwargs`, `caller`: only then does a call take more than its parameters.
    let takesMorePositional: Bool
    let takesMoreNamed: Bool
    let takesCaller: Bool
  }

  struct Loop: Sendable {
    let target: Target
    let iterable: Expression
    let condition: Expression?
    let body: [Statement]
    let otherwise: [Statement]
    let recursive: Bool
    let offset: Offset
  }

  indirect enum Statement: Sendable {
    case text(String)
    case output(Expression)
    case loop(Loop)
    case condition([(test: Expression, body: [Statement])], otherwise: [Statement])
    case assign(Target, Expression)
    /// `{% set x %}...{% endset %}`, with filters.
    case assignBlock(Target, filters: [Filter], body: [Statement], Offset)
    case macro(Macro)
    /// `{% call(parameters) macro(arguments) %}...{% endcall %}`: the body is the macro `caller`.
    case call(Expression, Arguments, caller: Macro, Offset)
    case filter([Filter], body: [Statement])
    case with([(target: Target, value: Expression)], body: [Statement])
    /// `{% generation %}`: what an assistant says, for training. Rendered like any text, with its own variables.
    case scope([Statement])
    case breakLoop
    case continueLoop
  }

  struct Filter: Sendable {
    let name: String
    let arguments: Arguments
    let offset: Offset
  }
}
